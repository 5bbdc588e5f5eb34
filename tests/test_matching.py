from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseguard.recordings.fixture import Ending, Headers, RecordedRequest, RecordedResponse, Recording
from sseguard.recordings.matching import CONTENT, Hit, Likeness, Match, Miss, Playlist, likeness, question

URL = "https://openrouter.ai/api/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
BYE = [{"role": "user", "content": "bye"}]


def recording(name: str, body: object, url: str = URL, method: str = "POST", headers: Headers = ()) -> Recording:
    request = RecordedRequest(method, url, headers, body)
    return Recording(request, RecordedResponse(200, ()), (), Ending.EOF, 0.0, "", name)


def chat(model: str = "m", messages: object = HI, **more: object) -> dict[str, object]:
    return {"model": model, "messages": messages, **more}


def played(playlist: Playlist, body: object, url: str = "/v1/chat/completions", method: str = "POST") -> str:
    found = playlist.find(method, url, body)
    return found.recording.name if isinstance(found, Hit) else "miss"


def like(recorded: object, asked: object, url: str = URL) -> Likeness:
    return likeness(question("POST", url, recorded), question("POST", url, asked))


class TestEndpoint:
    @pytest.mark.parametrize(
        "path",
        [
            "/v1/chat/completions",
            "/api/v1/chat/completions",
            "/chat/completions",
            "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
            "//v1//chat/completions/",
            "/v1/chat/completions?key=secret#top",
            "/v1/chat%2Fcompletions",
            "http://127.0.0.1:1234/v1/chat/completions",
        ],
    )
    def test_host_base_path_and_query_do_not_count(self, path: str) -> None:
        assert played(Playlist([recording("a", chat())], Match.EXACT), chat(), path) == "a"

    @pytest.mark.parametrize(
        "path",
        [
            "/v1/completions",
            "/v1/responses",
            "/v1/messages",
            "/",
            "",
            "/v1/chat",
            "/v1/chat/completions/x",
            "*",
            "//",
            "?",
        ],
    )
    def test_other_endpoints_are_other_endpoints(self, path: str) -> None:
        assert played(Playlist([recording("a", chat())]), chat(), path) == "miss"

    @pytest.mark.parametrize(
        ("recorded", "asked", "same"),
        [
            ("https://x/api/v1/custom/generate", "/v1/custom/generate", True),
            ("https://x/v2/custom/generate", "/v1beta/custom/generate", True),
            ("https://x/custom/generate", "/custom/generate?a=b", True),
            ("https://x/custom/generate", "/other/generate", False),
            ("https://x/v1/messages/count_tokens", "/v1/messages", False),
            ("https://x/v1", "/v1", True),
        ],
    )
    def test_other_paths_are_compared_from_their_version_on(self, recorded: str, asked: str, same: bool) -> None:
        assert (played(Playlist([recording("a", {}, recorded)]), {}, asked) == "a") == same

    def test_the_method_counts_and_head_is_a_get(self) -> None:
        playlist = Playlist([recording("post", chat()), recording("get", None, method="GET")])
        assert played(playlist, None, method="GET") == "get"
        assert played(playlist, None, method="HEAD") == "get"
        assert played(playlist, None, method="PUT") == "miss"

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse&key=x", "pro"),
            ("/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:streamGenerateContent", "pro"),
            ("/models/gemini-2%2E5-flash:streamGenerateContent", "flash"),
            ("/v1beta/models/gemini-2.5-pro:generateContent", "miss"),
            ("/v1beta/models/other:streamGenerateContent", "miss"),
        ],
    )
    def test_gemini_has_its_model_in_the_path(self, path: str, name: str) -> None:
        base = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-"
        body = {"contents": [{"parts": [{"text": "hi"}]}]}
        names = ("flash", "pro")
        playlist = Playlist(
            [recording(name, body, f"{base}{name}:streamGenerateContent?alt=sse") for name in names], Match.EXACT
        )
        assert played(playlist, body, path) == name


class TestContent:
    @pytest.mark.parametrize("field", CONTENT)
    def test_each_field_that_says_what_is_asked_counts(self, field: str) -> None:
        assert like({"model": "m", field: "a"}, {"model": "m", field: "a"}) is Likeness.EXACT
        assert like({"model": "m", field: "a"}, {"model": "m", field: "b"}) is Likeness.MODEL
        assert like({"model": "m", field: "a"}, {"model": "m"}) is Likeness.MODEL

    @pytest.mark.parametrize(
        "field", ["temperature", "user", "metadata", "seed", "max_tokens", "stream_options", "tools", "id"]
    )
    def test_other_fields_do_not(self, field: str) -> None:
        assert like(chat(), chat() | {field: 1}) is Likeness.EXACT

    def test_key_order_does_not_count(self) -> None:
        one, other = '{"model": "m", "messages": [{"a": 1, "b": 2}]}', '{"messages": [{"b": 2, "a": 1}], "model": "m"}'
        assert like(json.loads(one), json.loads(other)) is Likeness.EXACT

    def test_the_order_of_messages_counts(self) -> None:
        assert like(chat(messages=HI + BYE), chat(messages=BYE + HI)) is Likeness.MODEL

    @pytest.mark.parametrize(
        "key",
        ["id", "call_id", "tool_call_id", "tool_use_id", "created", "created_at", "timestamp", "cache_control"],
    )
    def test_ids_and_times_in_messages_do_not_count(self, key: str) -> None:
        def messages(value: str) -> object:
            return [{"role": "tool", "content": [{"text": "x", key: value}], key: value}]

        assert like(chat(messages=messages("1")), chat(messages=messages("2"))) is Likeness.EXACT
        assert like(chat(messages=messages("1")), chat(messages=[])) is Likeness.MODEL

    def test_an_id_that_is_a_tools_data_counts(self) -> None:
        def messages(value: int) -> object:
            return [{"role": "assistant", "content": [{"type": "tool_use", "input": {"id": value}}]}]

        assert like(chat(messages=messages(1)), chat(messages=messages(2))) is Likeness.MODEL

    def test_a_body_that_is_not_an_object_is_compared_as_a_whole(self) -> None:
        assert like("text", "text") is Likeness.EXACT
        assert like("text", "other") is Likeness.MODEL
        assert like([1], [1]) is Likeness.EXACT
        assert like(chat(), None) is Likeness.PATH

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_anything_is_exactly_like_itself(self, body: object) -> None:
        assert like(body, json.loads(json.dumps(body))) is Likeness.EXACT

    @pytest.mark.parametrize("depth", [40, 60, 400, 900, 3000, 100_000])
    def test_bodies_nested_deeply_are_no_danger(self, depth: int) -> None:
        deep: object = 1
        other: object = 2
        for _ in range(depth):
            deep, other = [deep], [other]
        found = Playlist([recording("a", chat(messages=deep))], Match.EXACT).find("POST", URL, chat(messages=other))
        assert isinstance(found, Miss)
        assert "messages[0][0][0]" in str(found)


class TestFallback:
    PLAYLIST = (
        recording("m hi", chat("m", HI)),
        recording("m bye", chat("m", BYE)),
        recording("n hi", chat("n", HI)),
        recording("answers", {"model": "m", "input": "hi"}, "https://x/v1/responses"),
    )

    @pytest.mark.parametrize(
        ("model", "messages", "names"),
        [
            ("m", HI, ["m hi"] * 3),
            ("m", BYE, ["m bye"] * 3),
            ("m", [], ["miss", "m hi", "m hi"]),
            ("n", BYE, ["miss", "n hi", "n hi"]),
            ("o", HI, ["miss", "miss", "m hi"]),
        ],
    )
    def test_match_says_how_far_the_search_may_go(self, model: str, messages: object, names: list[str]) -> None:
        found = [played(Playlist(self.PLAYLIST, match), chat(model, messages)) for match in Match]
        assert found == names

    def test_a_recording_without_a_body_answers_any_body_but_an_equal_one_goes_first(self) -> None:
        playlist = Playlist([recording("any", None), recording("hi", chat())], Match.EXACT)
        assert [played(playlist, body) for body in (chat(), chat("other"), None, "text")] == ["hi", "any", "any", "any"]

    def test_without_a_body_the_model_in_a_path_still_counts(self) -> None:
        playlist = Playlist([recording("a", None, "/v1beta/models/a:streamGenerateContent")], Match.EXACT)
        assert played(playlist, {"contents": []}, "/models/a:streamGenerateContent") == "a"
        assert played(playlist, {"contents": []}, "/models/b:streamGenerateContent") == "miss"

    def test_a_hit_says_how_alike_it_is(self) -> None:
        playlist = Playlist(self.PLAYLIST)
        hits = [playlist.find("POST", URL, body) for body in (chat(), chat(messages=[]), chat("o"))]
        likenesses = [hit.likeness for hit in hits if isinstance(hit, Hit)]
        assert likenesses == [Likeness.EXACT, Likeness.MODEL, Likeness.PATH]

    def test_whether_a_stream_is_asked_for_decides_between_equals(self) -> None:
        playlist = Playlist([recording("json", chat(stream=False)), recording("sse", chat(stream=True))])
        assert [played(playlist, chat(stream=stream)) for stream in (True, False, True)] == ["sse", "json", "sse"]
        assert [played(playlist, chat("o", stream=stream)) for stream in (True, False)] == ["sse", "json"]

    def test_a_recording_that_leaves_stream_out_answers_both(self) -> None:
        playlist = Playlist([recording("a", chat())], Match.EXACT)
        assert [played(playlist, chat(stream=stream)) for stream in (True, False)] == ["a", "a"]

    def test_no_recordings_answer_nothing(self) -> None:
        found = Playlist([]).find("POST", URL, chat())
        assert str(found) == (
            "Expected a request that a recording answers (match: path), "
            "got POST https://openrouter.ai/api/v1/chat/completions. There are no recordings."
        )


class TestSequence:
    def test_equal_requests_walk_through_their_recordings_and_the_last_one_repeats(self) -> None:
        playlist = Playlist([recording(name, chat()) for name in ("empty 1", "empty 2", "answered")])
        names = [played(playlist, chat()) for _ in range(5)]
        assert names == ["empty 1", "empty 2", "answered", "answered", "answered"]

    def test_each_request_has_its_own_place(self) -> None:
        bodies = {"hi": chat(), "bye": chat(messages=BYE)}
        playlist = Playlist([recording(f"{name} {turn}", body) for turn in (1, 2) for name, body in bodies.items()])
        names = [played(playlist, bodies[name]) for name in ("hi", "bye", "hi", "bye", "hi")]
        assert names == ["hi 1", "bye 1", "hi 2", "bye 2", "hi 2"]

    def test_a_fallback_walks_through_all_it_may_use_and_leaves_exact_sequences_alone(self) -> None:
        playlist = Playlist([recording("a", chat(messages=HI)), recording("b", chat(messages=BYE))])
        names = [played(playlist, chat(messages=messages)) for messages in ([1], [2], [3], HI, BYE)]
        assert names == ["a", "b", "b", "a", "b"]

    def test_a_miss_moves_nothing_on(self) -> None:
        playlist = Playlist([recording("a", chat()), recording("b", chat())], Match.EXACT)
        assert [played(playlist, body) for body in (chat("x"), chat(), chat("x"), chat())] == ["miss", "a", "miss", "b"]


class TestMiss:
    def test_it_names_the_nearest_recordings_and_what_differs(self) -> None:
        playlist = Playlist(
            [
                recording("answers.sse.jsonl", {"model": "m", "input": "hi"}, "https://x/v1/responses"),
                recording("other.sse.jsonl", chat("n", HI, stream=False)),
                recording("nearest.sse.jsonl", chat("m", BYE)),
                recording("", None, "https://x/v1/messages", "GET"),
            ],
            Match.EXACT,
        )
        assert str(playlist.find("POST", "/v1/chat/completions?key=secret", chat(stream=True))) == (
            "Expected a request that a recording answers (match: exact), got POST /v1/chat/completions.\n"
            "  nearest.sse.jsonl\n"
            "    messages[0].content: recorded 'bye', got 'hi'\n"
            "  other.sse.jsonl\n"
            "    model: recorded 'n', got 'm'\n"
            "    stream: recorded False, got True\n"
            "  answers.sse.jsonl\n"
            "    path: recorded '/responses', got '/chat/completions'\n"
            "    messages: recorded nothing, got [{'content': 'hi', 'role': 'user'}]\n"
            "    input: recorded 'hi', got nothing"
        )

    def test_a_recording_without_a_name_is_named_by_its_place(self) -> None:
        found = Playlist([recording("", None, "https://x/v1/messages", "GET")]).find("POST", "/x", None)
        assert isinstance(found, Miss)
        [near] = found.nearest
        assert near.name == "recording 1"
        assert near.differences == ("method: recorded 'GET', got 'POST'", "path: recorded '/messages', got '/x'")

    @pytest.mark.parametrize(
        ("recorded", "got", "line"),
        [
            (HI, HI + BYE, "messages: recorded 1 items, got 2"),
            ([{"a": 1}], [{"a": None}], "messages[0].a: recorded 1, got nothing"),
            ([{"a": {"b": [1, 2]}}], [{"a": {"b": [1, 3]}}], "messages[0].a.b[1]: recorded 2, got 3"),
            ("x" * 9000 + "one", "x" * 9000 + "two", f"messages: recorded …'{'x' * 20}one', got …'{'x' * 20}two'"),
            ("x" * 5000 + "one", "x" * 5000 + "two", f"messages: recorded …'{'x' * 20}one', got …'{'x' * 20}two'"),
            ("same", "same and more", "messages: recorded 'same', got 'same and more'"),
            ("x" * 5000, "x" * 5001, f"messages: recorded …'{'x' * 20}', got …'{'x' * 21}'"),
            (1, [1], "messages: recorded 1, got [1]"),
            ({}, {"\x1b[2J": "\u202e"}, "'messages.\\x1b[2J': recorded nothing, got '\\u202e'"),
            ([{"x" * 200: 1}], [{"x" * 200: 2}], f"'messages[0].{'x' * 66}…: recorded 1, got 2"),
        ],
    )
    def test_a_difference_is_one_short_printable_line_where_it_begins(
        self, recorded: object, got: object, line: str
    ) -> None:
        found = Playlist([recording("a", chat(messages=recorded))], Match.EXACT).find("POST", URL, chat(messages=got))
        assert isinstance(found, Miss)
        assert found.nearest[0].differences == (line,)

    def test_hostile_text_in_the_request_is_escaped_and_cut(self) -> None:
        found = Playlist([recording("a", chat())]).find("PO\x1bST", "/\n\x1b[2J" + "x" * 100_000, chat("\x07" * 1000))
        assert len(str(found)) < 1000
        assert all(line.isprintable() for line in str(found).split("\n"))

    def test_models_are_those_that_were_recorded(self) -> None:
        bodies = [chat("b"), chat("a"), chat("b"), None, {"model": 5}, "text"]
        assert Playlist([recording("", body) for body in bodies]).models == ("b", "a")

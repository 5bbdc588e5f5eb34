"""What the guard costs, measured against what there is without it: `python -m bench`, or scripts/bench.

Everything runs on loopback, in one go. Contenders take turns (A B C, B C A, …), so that whatever else the machine does
meets all of them, and each round gives one ratio to the rival. Of the rounds, medians and quartiles are reported.

A figure means most as a ratio. CPU seconds are those that the system charged to the process that is measured; they
suffer much less from a busy machine than seconds on the clock.
"""

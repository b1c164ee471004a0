"""The four papers again: what is trained and measured, their tables beside ours.

`papers` says what a paper is made of, and `lcnn`, `pag`, `dissect` and `smooth` are
the four. `budget` scales them down, `plan` makes jobs of them, `estimate` says how long
these take, `work` does them, and `pages` writes what came out.
"""

"""Runs in folders: what is in one (`folder`), training into it and going on there (`training`), who writes (`keeping`).

`checkpoint_file` is the file that a run goes on from, `comparing` reads several runs, `mistakes` what a run's model
answers. Nothing is imported here: to look at runs takes no compiler.
"""

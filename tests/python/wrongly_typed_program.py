"""Lines that the type checkers must refuse, each marked with WRONG; never run."""

import timbre

pipeline = timbre.Pipeline(device=3)  # WRONG
pipeline.clone(5, ref_audio="voice.wav")  # WRONG
pipeline.clone("Hello.", temperature="hot")  # WRONG
pipeline.clone("Hello.", colour="red")  # WRONG
pipeline.clone("Hello.", ref_audio=3.5)  # WRONG
timbre.enhance_file("a.wav", "b.wav", encoding="s8")  # WRONG
timbre.resample([0.1], "48000", 16000)  # WRONG
text: str = pipeline.clone("Hello.", ref_audio="voice.wav").samples  # WRONG

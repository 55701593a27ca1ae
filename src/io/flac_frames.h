/* FLAC streams, frame by frame, before they are decoded. */
#ifndef TMB_IO_FLAC_FRAMES_H
#define TMB_IO_FLAC_FRAMES_H

#include "io/notes.h"
#include "io/parts.h"

/* Bytes of the number of samples in STREAMINFO, and where they lie behind "fLaC". Its first byte has four bits of other
 * use. */
#define TMB_FLAC_TOTAL_PLACE 21
#define TMB_FLAC_TOTAL_BYTES 5

/* Walks through [start, end), which begins with "fLaC", and compares the checksum of each frame: a part for each stream
 * (plain concatenation makes several), as long as its frames say, whatever STREAMINFO promises. Fewer samples than
 * promised, a damaged frame or one that is cut short are a loss. */
tmb_status tmb_flac_walk(tmb_source *source, uint64_t start, uint64_t end, tmb_notes *notes, tmb_parts *parts,
                         tmb_error *error);

#endif

/* What the tests of the denoiser share: the model, the clips, and running a stream. */
#ifndef TMB_TESTS_DFN_FIXTURE_H
#define TMB_TESTS_DFN_FIXTURE_H

#include "test.h"

#include "enhance/model.h"
#include "golden.h"

/* Loads the installed model with the kernels of the CPU levels in `mask`; fails the test if it is missing. */
tmb_dfn_model *dfn_model(unsigned mask);

/* A clip of tests/golden/dfn as floats; free() it. */
float *dfn_clip(const char *name, size_t *count);

/* Pushes everything in pieces of `piece` samples (0: pieces of changing sizes) and flushes; free() the result. */
float *dfn_stream(tmb_enhancer *enhancer, const float *samples, size_t count, size_t piece, size_t *out_count);

/* The same with an enhancer of its own. */
float *dfn_enhance(tmb_dfn_model *model, const tmb_enhance_settings *settings, const float *samples, size_t count,
                   size_t piece, size_t *out_count);

/* Fails below 95 dB or above 1e-5. */
void dfn_assert_parity(const char *what, const float *actual, const float *expected, size_t count);

#endif

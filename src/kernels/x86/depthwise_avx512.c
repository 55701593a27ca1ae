#include "kernels/x86/depthwise_init.h"

#include "kernels/x86/lanes_avx512.h"

#include "kernels/forms/depthwise_forms.h"

void tmb_depthwise_kernels_init_avx512(tmb_depthwise_kernels *kernels) { kernels->convolve = convolve; }

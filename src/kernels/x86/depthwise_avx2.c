#include "kernels/x86/depthwise_init.h"

#include "kernels/x86/lanes_avx2.h"

#include "kernels/forms/depthwise_forms.h"

void tmb_depthwise_kernels_init_avx2(tmb_depthwise_kernels *kernels) { kernels->convolve = convolve; }

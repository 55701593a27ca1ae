#include "kernels/generic/init.h"

#include "kernels/forms/lanes_generic.h"

#include "kernels/forms/depthwise_forms.h"

void tmb_depthwise_kernels_init_generic(tmb_depthwise_kernels *kernels) { kernels->convolve = convolve; }

#include "kernels/x86/elementwise_init.h"

#include "kernels/x86/lanes_avx2.h"

#include "kernels/forms/dot_forms.h"
#include "kernels/forms/elementwise_forms.h"

void tmb_elementwise_kernels_init_avx2(tmb_elementwise_kernels *kernels) {
    kernels->sigmoid = sigmoid;
    kernels->tanh = hyperbolic_tangent;
    kernels->gru_gates = gru_gates;
    kernels->scale_relu_add = scale_relu_add;
    kernels->dot = dot;
}

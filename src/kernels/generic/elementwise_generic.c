#include "kernels/generic/init.h"

#include "kernels/forms/lanes_generic.h"

#include "kernels/forms/dot_forms.h"
#include "kernels/forms/elementwise_forms.h"

void tmb_elementwise_kernels_init_generic(tmb_elementwise_kernels *kernels) {
    kernels->sigmoid = sigmoid;
    kernels->tanh = hyperbolic_tangent;
    kernels->gru_gates = gru_gates;
    kernels->scale_relu_add = scale_relu_add;
    kernels->dot = dot;
}

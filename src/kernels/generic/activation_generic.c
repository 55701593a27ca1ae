#include "kernels/generic/init.h"

#include "kernels/forms/lanes_generic.h"

#include "kernels/forms/activation_forms.h"

void tmb_activation_kernels_init_generic(tmb_activation_kernels *kernels) {
    *kernels = (tmb_activation_kernels){
        .snake = snake,
        .elu = elu,
        .gelu = gelu,
        .silu_multiply = silu_multiply,
        .exp = exp_vector,
        .tanh = tanh_vector,
        .softmax = softmax,
        .attend = attend,
    };
}

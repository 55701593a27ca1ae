#include "kernels/x86/activation_init.h"

#include "kernels/x86/lanes_avx2.h"

#include "kernels/forms/activation_forms.h"

void tmb_activation_kernels_init_avx2(tmb_activation_kernels *kernels) {
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

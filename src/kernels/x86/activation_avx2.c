#include "kernels/x86/activation_x86.h"

#include "kernels/x86/lanes_avx2.h"

#include "kernels/x86/activation_forms.h"

const tmb_activation_kernels tmb_activation_kernels_avx2 = {
    .snake = snake,
    .elu = elu,
    .gelu = gelu,
    .silu_multiply = silu_multiply,
    .exp = exp_vector,
    .tanh = tanh_vector,
    .softmax = softmax,
    .attend = attend,
};

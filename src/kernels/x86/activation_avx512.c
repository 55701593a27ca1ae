#include "kernels/x86/activation_init.h"

#include "kernels/x86/lanes_avx512.h"

#include "kernels/forms/activation_forms.h"

void tmb_activation_kernels_init_avx512(tmb_activation_kernels *kernels) {
    kernels->snake = snake;
    kernels->elu = elu;
    kernels->gelu = gelu;
    kernels->silu_multiply = silu_multiply;
    kernels->exp = exp_vector;
    kernels->tanh = tanh_vector;
    kernels->softmax = softmax;
    (void)attend; /* AVX2's stays: sums across 16 lanes cost more than wider products save at 64 elements a key */
}

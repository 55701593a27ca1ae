#include "kernels/x86/elementwise_init.h"

#include "kernels/x86/lanes_avx512.h"

#include "kernels/forms/elementwise_forms.h"

static float dot(const float *a, const float *b, size_t count) {
    vec even = v_set(0.0f);
    vec odd = v_set(0.0f);
    size_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        even = v_fma(v_load(a + i), v_load(b + i), even);
        odd = v_fma(v_load(a + i + LANES), v_load(b + i + LANES), odd);
    }
    if (i < count) {
        even = v_fma(v_load_some(a + i, count - i), v_load_some(b + i, count - i), even);
        i += LANES;
    }
    if (i < count) {
        odd = v_fma(v_load_part(a + i, count - i), v_load_part(b + i, count - i), odd);
    }
    return v_sum(v_add(even, odd));
}

void tmb_elementwise_kernels_init_avx512(tmb_elementwise_kernels *kernels) {
    kernels->sigmoid = sigmoid;
    kernels->tanh = hyperbolic_tangent;
    kernels->gru_gates = gru_gates;
    kernels->scale_relu_add = scale_relu_add;
    kernels->dot = dot;
}

/* The sum of elementwise.h in vectors of 4 or 8 floats. */

static float dot(const float *a, const float *b, size_t count) {
    vec sum[4] = {v_set(0.0f), v_set(0.0f), v_set(0.0f), v_set(0.0f)};
    size_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES) {
        sum[0] = v_fma(v_load(a + i), v_load(b + i), sum[0]);
        sum[1] = v_fma(v_load(a + i + LANES), v_load(b + i + LANES), sum[1]);
        sum[2] = v_fma(v_load(a + i + 2 * LANES), v_load(b + i + 2 * LANES), sum[2]);
        sum[3] = v_fma(v_load(a + i + 3 * LANES), v_load(b + i + 3 * LANES), sum[3]);
    }
    for (; i < count; i += LANES) {
        sum[0] = v_fma(v_load_some(a + i, count - i), v_load_some(b + i, count - i), sum[0]);
    }
    return v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}

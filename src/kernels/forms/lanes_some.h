/* Some of a vector's lanes, for any width. The branch goes where the count is a constant. */

static inline vec v_load_some(const float *p, size_t count) {
    return count >= LANES ? v_load(p) : v_load_part(p, count);
}

static inline void v_store_some(float *p, vec v, size_t count) {
    if (count >= LANES) {
        v_store(p, v);
    } else {
        v_store_part(p, v, count);
    }
}

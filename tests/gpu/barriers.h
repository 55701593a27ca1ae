#ifndef TMB_TESTS_GPU_BARRIERS_H
#define TMB_TESTS_GPU_BARRIERS_H

/* Whether ThreadSanitizer misses each barrier that `check` comes to: 0, or 1 after a message. */
int tmb_check_barriers(void (*check)(void));

#endif

/* Which of the sanitizers that need help from the emulator watches: WITH_ASAN, WITH_TSAN. */
#ifndef TMB_TESTS_GPU_SANITIZERS_H
#define TMB_TESTS_GPU_SANITIZERS_H

#ifndef __has_feature /* GCC has macros alone */
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif

#endif

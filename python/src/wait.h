/* Waiting for a condition for a time, by the clock that nobody sets. Knows nothing of Python. */
#ifndef TIMBRE_PYTHON_WAIT_H
#define TIMBRE_PYTHON_WAIT_H

#include <pthread.h>
#include <time.h>

/* A condition whose timed waits end at a tmb_py_deadline. */
void tmb_py_condition_init(pthread_cond_t *condition);
struct timespec tmb_py_deadline(double seconds);

#endif

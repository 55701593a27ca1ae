/* Lines of the library's log on their way to `logging`: a bounded queue for the whole process. */
#include "core.h"
#include "wait.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAXIMUM_LINES = 1000 };

typedef struct line {
    struct line *next;
    tmb_log_level level;
    char text[];
} line;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* tmb_py_log_init's */
    line *head, **tail;
    size_t waiting;
    uint64_t dropped, added, handled; /* lines */
    uint64_t taken;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .tail = &queue.head};

/* A flush looks this often whether a signal came, which wakes nobody who waits for a condition. */
static const double slice_seconds = 0.1;

static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make_condition(void) { tmb_py_condition_init(&queue.changed); }

void tmb_py_log_init(void) { (void)pthread_once(&made, make_condition); }

void tmb_py_log(void *user, tmb_log_level level, const char *text) {
    (void)user;
    size_t bytes = strlen(text) + 1;
    line *one = malloc(sizeof *one + bytes);
    (void)pthread_mutex_lock(&queue.lock);
    if (one == NULL || queue.waiting >= MAXIMUM_LINES) {
        queue.dropped++;
        free(one);
    } else {
        *one = (line){.level = level};
        memcpy(one->text, text, bytes);
        *queue.tail = one;
        queue.tail = &one->next;
        queue.waiting++;
        queue.added++;
    }
    (void)pthread_cond_broadcast(&queue.changed);
    (void)pthread_mutex_unlock(&queue.lock);
}

/* Waits for a line: (level, text, lines that were dropped before it). Asking for the next says that the last one was
 * handled. One thread calls this. */
PyObject *tmb_py_log_next(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    line *one = NULL;
    uint64_t dropped = 0;
    Py_BEGIN_ALLOW_THREADS;
    (void)pthread_mutex_lock(&queue.lock);
    queue.handled = queue.taken;
    (void)pthread_cond_broadcast(&queue.changed);
    while (queue.head == NULL) {
        (void)pthread_cond_wait(&queue.changed, &queue.lock);
    }
    one = queue.head;
    queue.head = one->next;
    if (queue.head == NULL) {
        queue.tail = &queue.head;
    }
    queue.waiting--;
    queue.taken++;
    dropped = queue.dropped;
    queue.dropped = 0;
    (void)pthread_mutex_unlock(&queue.lock);
    Py_END_ALLOW_THREADS;
    PyObject *text = PyUnicode_DecodeUTF8(one->text, (Py_ssize_t)strlen(one->text), "replace");
    int level = (int)one->level;
    free(one);
    return text != NULL ? Py_BuildValue("(iNK)", level, text, (unsigned long long)dropped) : NULL;
}

/* Waits until every line that is there now was handled. */
PyObject *tmb_py_log_flush(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    bool done = false;
    uint64_t until = 0;
    while (!done) {
        Py_BEGIN_ALLOW_THREADS;
        const struct timespec end = tmb_py_deadline(slice_seconds);
        (void)pthread_mutex_lock(&queue.lock);
        until = until == 0 ? queue.added : until;
        while (!(done = queue.handled >= until) && pthread_cond_timedwait(&queue.changed, &queue.lock, &end) == 0) {
        }
        (void)pthread_mutex_unlock(&queue.lock);
        Py_END_ALLOW_THREADS;
        if (PyErr_CheckSignals() != 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

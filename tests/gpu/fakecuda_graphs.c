/* Modules, kernels and graphs of them. */
#include "fakecuda_internal.h"

#include "emulator.h"
#include "gpu/kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN(name)                                                                                                      \
    static void run_##name(const void *arguments) { name(*(const name##_arguments *)arguments); }
TMB_GPU_KERNELS(RUN)
#define ROW(name) {#name, run_##name, sizeof(name##_arguments), false, name##_threads_most},
#define WAITING_ROW(name) {#name, run_##name, sizeof(name##_arguments), true, name##_threads_most},
static const kernel kernels[] = {TMB_GPU_KERNELS(ROW) TMB_GPU_KERNELS(WAITING_ROW)};

EXPORT int cuModuleLoadData(void **module, const void *image);
int cuModuleLoadData(void **module, const void *image) {
    BEGIN;
    if (fake.module_result != SUCCESS) {
        return fake_unlock((int)fake.module_result);
    }
    const char *version = strstr(image, ".version ");
    if (version == NULL) {
        return fake_unlock(INVALID_IMAGE);
    }
    const char *target = strstr(image, ".target sm_");
    if (target == NULL || atoi(target + strlen(".target sm_")) > fake.capability) {
        return fake_unlock(NO_BINARY);
    }
    /* CUDA 11.0 knows PTX up to 7.0, 12.4 up to 8.4, 13.0 up to 9.0. */
    int major = 0, minor = 0;
    (void)sscanf(version, ".version %d.%d", &major, &minor);
    int known = ((int)fake.version / 1000 - 4) * 10 + (int)fake.version % 1000 / 10;
    if (major * 10 + minor > known) {
        return fake_unlock(UNSUPPORTED_PTX);
    }
    fake.counts.modules++;
    bool *waits = malloc(sizeof *waits); /* whether its kernels wait for those before them themselves */
    *waits = strstr(image, "griddepcontrol.wait") != NULL;
    *module = waits;
    return fake_unlock(SUCCESS);
}
EXPORT int cuModuleUnload(void *module);
int cuModuleUnload(void *module) {
    fake_lock();
    fake_run_all();
    free(module);
    fake.counts.modules--;
    return fake_unlock(SUCCESS);
}
EXPORT int cuModuleGetFunction(void **function, void *module, const char *name);
int cuModuleGetFunction(void **function, void *module, const char *name) {
    BEGIN;
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
        if (kernels[i].waits == *(const bool *)module && strcmp(kernels[i].name, name) == 0) {
            const kernel *found = &kernels[i];
            memcpy(function, &found, sizeof found);
            return fake_unlock(SUCCESS);
        }
    }
    return fake_unlock(NOT_FOUND);
}

static int fill_node(node *n, const void *function, const unsigned grid[3], const unsigned threads[3],
                     void *const *parameters) {
    n->kernel = function;
    n->threads = (int)(threads[0] * threads[1] * threads[2]);
    memcpy(n->grid, grid, sizeof n->grid);
    if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0 || grid[1] > 65535 || grid[2] > 65535 || n->threads < 1 ||
        n->threads > n->kernel->threads_most || n->kernel->bytes > MOST_ARGUMENTS) {
        return INVALID_VALUE;
    }
    memcpy(n->arguments, parameters[0], n->kernel->bytes);
    return SUCCESS;
}

EXPORT int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned shared, void *s, void **parameters,
                          void **extra);
int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared, void *s, void **parameters, void **extra) {
    (void)shared;
    (void)extra;
    BEGIN;
    node n;
    int result = fill_node(&n, function, (unsigned[]){grid_x, grid_y, grid_z}, (unsigned[]){block_x, block_y, block_z},
                           parameters);
    if (result == SUCCESS) {
        operation *o = fake_append(s, KERNEL_RUN);
        o->node = n;
        fake_queue_kernels(o, 1, false);
        fake.counts.launches++;
    }
    return fake_unlock(result);
}
EXPORT int cuGraphCreate(void **out, unsigned flags);
int cuGraphCreate(void **out, unsigned flags) {
    (void)flags;
    BEGIN;
    *out = calloc(1, sizeof(graph));
    fake.counts.graphs++;
    return fake_unlock(SUCCESS);
}
EXPORT int cuGraphDestroy(void *opaque);
int cuGraphDestroy(void *opaque) {
    fake_lock();
    graph *g = opaque;
    free(g->nodes);
    free(g);
    fake.counts.graphs--;
    return fake_unlock(SUCCESS);
}

struct node_parameters {
    void *function;
    unsigned grid[3], block[3], shared;
    void **parameters, **extra;
};

EXPORT int cuGraphAddKernelNode(void **out, void *opaque, void *const *dependencies, size_t count,
                                const struct node_parameters *kernel_parameters);
int cuGraphAddKernelNode(void **out, void *opaque, void *const *dependencies, size_t count,
                         const struct node_parameters *kernel_parameters) {
    BEGIN;
    graph *g = opaque;
    /* Kernels are one after the other: each depends on the one before it, by now or by an edge that follows. */
    if (count > 1 || (count > 0 && dependencies[0] != (void *)(uintptr_t)g->count)) {
        (void)fprintf(stderr, "fakecuda: a graph that is no chain\n");
        abort();
    }
    g->chained += count;
    if (g->count == g->capacity) {
        g->capacity = 2 * g->capacity + 64;
        g->nodes = realloc(g->nodes, g->capacity * sizeof *g->nodes);
    }
    int result = fill_node(&g->nodes[g->count], kernel_parameters->function, kernel_parameters->grid,
                           kernel_parameters->block, kernel_parameters->parameters);
    if (result == SUCCESS) {
        *out = (void *)(uintptr_t)++g->count;
    }
    return fake_unlock(result);
}

struct edge {
    unsigned char from_port, to_port, type, reserved[5];
};

EXPORT int cuGraphAddDependencies_v2(void *opaque, void *const *from, void *const *to, const struct edge *edges,
                                     size_t count);
int cuGraphAddDependencies_v2(void *opaque, void *const *from, void *const *to, const struct edge *edges,
                              size_t count) {
    static const unsigned char none[5];
    BEGIN;
    graph *g = opaque;
    if (count != 1 || g->count < 2 || to[0] != (void *)(uintptr_t)g->count ||
        from[0] != (void *)(uintptr_t)(g->count - 1)) {
        (void)fprintf(stderr, "fakecuda: a graph that is no chain\n");
        abort();
    }
    /* Who may begin early must wait itself. */
    if (edges[0].from_port != 1 || edges[0].to_port != 0 || edges[0].type != 1 ||
        memcmp(edges[0].reserved, none, sizeof none) != 0 || fake.capability < 90 ||
        !g->nodes[g->count - 1].kernel->waits) {
        return fake_unlock(INVALID_VALUE);
    }
    g->chained++;
    g->programmatic = true;
    fake.counts.programmatic_edges++;
    return fake_unlock(SUCCESS);
}
EXPORT int cuGraphInstantiate_v2(void **out, void *opaque, void **error_node, char *log, size_t log_bytes);
int cuGraphInstantiate_v2(void **out, void *opaque, void **error_node, char *log, size_t log_bytes) {
    (void)error_node;
    (void)log;
    (void)log_bytes;
    BEGIN;
    const graph *g = opaque;
    if (g->count > 0 && g->chained != g->count - 1) {
        (void)fprintf(stderr, "fakecuda: a graph that is no chain\n");
        abort();
    }
    if (g->programmatic && fake.programmatic == 0) {
        return fake_unlock(NOT_SUPPORTED);
    }
    graph *copy = calloc(1, sizeof *copy);
    copy->count = g->count;
    copy->nodes = malloc((g->count + 1) * sizeof *copy->nodes);
    memcpy(copy->nodes, g->nodes, g->count * sizeof *copy->nodes);
    fake.counts.graphs++;
    *out = copy;
    return fake_unlock(SUCCESS);
}

/* What a graph takes of the device when it is first launched; false if there is no room for it. */
static bool upload(graph *g) {
    uint64_t bytes = g->count * (uint64_t)fake.graph_kernel;
    if (g->launched) {
        return true;
    }
    g->device = fake_current()->device;
    if (bytes > fake_free_bytes(g->device)) {
        return false;
    }
    g->launched = true;
    g->bytes = bytes;
    fake.counts.uploads++;
    fake_took(g->device, bytes);
    return true;
}

EXPORT int cuGraphLaunch(void *executable, void *s);
int cuGraphLaunch(void *executable, void *s) {
    BEGIN;
    const bool again = ((const graph *)executable)->launched;
    if ((fake.fail_graph > 0 && --fake.fail_graph == 0) || !upload(executable)) {
        return fake_unlock(OUT_OF_MEMORY);
    }
    operation *o = fake_append(s, GRAPH);
    o->graph = executable;
    fake_queue_kernels(o, o->graph->count, again);
    fake.counts.graph_launches++;
    return fake_unlock(SUCCESS);
}
EXPORT int cuGraphExecDestroy(void *executable);
int cuGraphExecDestroy(void *executable) {
    fake_lock();
    fake_run_all();
    graph *g = executable;
    fake.allocated[g->device] -= g->bytes;
    fake.counts.allocated -= g->bytes;
    free(g->nodes);
    free(g);
    fake.counts.graphs--;
    return fake_unlock(SUCCESS);
}

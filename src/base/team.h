/* Fork and join: a few threads that do one loop together, many thousand times a second.
 *
 * A run splits its work into numbered parts. Which thread does which part is left to chance, so that a
 * thread whose CPU is busy elsewhere holds nobody up before it has begun; results must therefore depend
 * on the part's number alone. Between runs the threads spin for some microseconds, then sleep: an idle
 * team costs nothing, and one that shares its CPUs with others does not collapse.
 */
#ifndef TMB_BASE_TEAM_H
#define TMB_BASE_TEAM_H

#include "timbre/timbre.h"

typedef struct tmb_team tmb_team;

/* Does part `part` of `parts`, 0 <= part < parts. */
typedef void (*tmb_team_function)(void *argument, int part, int parts);

/* A team of `threads` (1 to 256), the caller of tmb_team_run included: threads - 1 are started, and they
 * flush denormals to zero. One thread starts none and runs everything inline. Fails with
 * TMB_ERROR_ARGUMENT for a number out of range, TMB_ERROR_MEMORY if a thread cannot be started. */
tmb_status tmb_team_create(int threads, tmb_team **out, tmb_error *error);

/* Threads of the team; 1 for NULL, which every function here takes for a team of one. */
int tmb_team_threads(const tmb_team *team);

/* Runs function(argument, part, parts) for every part, one part a thread, and returns when all are
 * done; what they wrote is then visible to the caller. One run at a time: a team has one user, and a
 * function must not run something else on its own team. */
void tmb_team_run(tmb_team *team, tmb_team_function function, void *argument);

/* The same with `parts` parts (1 to TMB_TEAM_PARTS_MAX), taken in order by whoever is free. More parts than
 * threads even out work of unequal length. */
#define TMB_TEAM_PARTS_MAX 65535
void tmb_team_run_parts(tmb_team *team, int parts, tmb_team_function function, void *argument);

/* Ends the threads and frees; no run may be going on. */
void tmb_team_destroy(tmb_team **team);

/* Where part `part` of `parts` begins in `count` things: [begin(part), begin(part + 1)) is its share, and
 * shares begin at multiples of `unit` (>= 1). */
static inline size_t tmb_team_begin(size_t count, size_t unit, int part, int parts) {
    size_t units = (count + unit - 1) / unit;
    size_t begin = (units / (size_t)parts * (size_t)part + units % (size_t)parts * (size_t)part / (size_t)parts) * unit;
    return begin < count ? begin : count;
}

#endif

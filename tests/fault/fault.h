/* Allocations that fail: a scenario is run again and again, its n-th allocation failing, for every n.
 *
 * The linker sends the calls that timbre's own code makes here (meson.build has the list); those of the
 * libraries below stay as they are. pthread_create counts as an allocation.
 */
#ifndef TMB_TESTS_FAULT_H
#define TMB_TESTS_FAULT_H

#include "test.h"

/* Does something from beginning to end, frees what it made, and returns the first failure. */
typedef tmb_status (*fault_scenario)(void *user, tmb_error *error);

/* Fails the calling cmocka test unless the scenario succeeds when nothing fails and, for every n, with
 * the n-th allocation alone failing and (for some n) with all from the n-th on failing, returns TMB_ERROR_MEMORY and a
 * message (or TMB_OK if `may_survive`: it has another way), does not crash, and frees everything. */
void fault_check(fault_scenario scenario, void *user, bool may_survive);

/* In a scenario: allocations between the two never fail and are not counted. For what belongs to the
 * test and not to its subject, in whichever thread; may be nested. */
void fault_pause(void);
void fault_resume(void);

#endif

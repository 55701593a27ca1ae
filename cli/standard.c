#include "standard.h"

#include <fcntl.h>
#include <unistd.h>

void cli_hold_standard_descriptors(void) {
    /* Reading from the first and writing to the second is EBADF, as from a closed one. */
    static const int how[] = {[STDIN_FILENO] = O_WRONLY, [STDOUT_FILENO] = O_RDONLY, [STDERR_FILENO] = O_RDWR};
    for (int number = STDIN_FILENO; number <= STDERR_FILENO; number++) {
        if (fcntl(number, F_GETFD) < 0) {
            (void)open("/dev/null", how[number]); /* the lowest number that is free is this one */
        }
    }
}

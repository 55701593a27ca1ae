#include "timbre/timbre.h"

#include <stdio.h>

int main(void) {
    (void)printf("timbre %s\n", tmb_version());
    return 0;
}

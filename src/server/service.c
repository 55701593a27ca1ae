#include "server/service.h"

#include <stddef.h>
#include <stdint.h>

#ifdef TMB_SYSTEMD
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

int tmb_service_socket(const char **problem) {
    *problem = NULL;
    int count = sd_listen_fds(1);
    if (count <= 0) {
        return -1;
    }
    if (count > 1) {
        *problem = "systemd passed more than one socket";
        return -1;
    }
    if (sd_is_socket(SD_LISTEN_FDS_START, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
        *problem = "the socket that systemd passed is not a listening stream socket";
        return -1;
    }
    return SD_LISTEN_FDS_START;
}

void tmb_service_ready(const char *status) { (void)sd_notifyf(0, "READY=1\nSTATUS=%s", status); }
void tmb_service_stopping(void) { (void)sd_notify(0, "STOPPING=1\nSTATUS=finishing what runs"); }
void tmb_service_status(const char *status) { (void)sd_notifyf(0, "STATUS=%s", status); }

double tmb_service_watchdog(void) {
    uint64_t microseconds = 0;
    return sd_watchdog_enabled(0, &microseconds) > 0 ? 1e-6 * (double)microseconds / 2 : 0;
}

void tmb_service_alive(void) { (void)sd_notify(0, "WATCHDOG=1"); }

#else

int tmb_service_socket(const char **problem) {
    *problem = NULL;
    return -1;
}

void tmb_service_ready(const char *status) { (void)status; }
void tmb_service_stopping(void) {}
void tmb_service_status(const char *status) { (void)status; }
double tmb_service_watchdog(void) { return 0; }
void tmb_service_alive(void) {}

#endif

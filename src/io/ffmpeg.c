#include "io/ffmpeg.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "io/bytes.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_ARGUMENTS 40
/* It is killed when it writes nothing for so long, uses so much of a processor or memory, or says so much. */
#define SILENCE_MILLISECONDS 60000
#define PROCESSOR_SECONDS 7200
#define ADDRESS_BYTES ((uint64_t)4 << 30)
#define COMPLAINT_BYTES ((uint64_t)16 << 20)
/* From the end of its output to its own. */
#define END_MILLISECONDS 10000

size_t tmb_ffmpeg_parse_head(const uint8_t *data, size_t size, tmb_ffmpeg_head *head) {
    if (size < 12) {
        return 0;
    }
    if (memcmp(data, "RIFF", 4) != 0 || memcmp(data + 8, "WAVE", 4) != 0) {
        return SIZE_MAX;
    }
    *head = (tmb_ffmpeg_head){0};
    for (size_t at = 12; at <= TMB_FFMPEG_HEAD_MAX;) {
        if (size - at < 8) {
            return 0;
        }
        const uint64_t bytes = tmb_little(data + at + 4, 4);
        const uint8_t *contents = data + at + 8;
        if (memcmp(data + at, "data", 4) == 0) {
            return head->rate > 0 ? at + 8 : SIZE_MAX;
        }
        if (bytes > TMB_FFMPEG_HEAD_MAX) {
            return SIZE_MAX;
        }
        const size_t next = at + 8 + (size_t)bytes + (size_t)(bytes & 1);
        if (next > size) {
            return next > TMB_FFMPEG_HEAD_MAX ? SIZE_MAX : 0;
        }
        if (memcmp(data + at, "fmt ", 4) == 0) {
            uint64_t tag = bytes >= 16 ? tmb_little(contents, 2) : 0;
            if (tag == 0xfffe && bytes >= 26) {
                head->channel_mask = (uint32_t)tmb_little(contents + 20, 4);
                tag = tmb_little(contents + 24, 2);
            }
            const uint64_t channels = bytes >= 16 ? tmb_little(contents + 2, 2) : 0;
            const uint64_t rate = bytes >= 16 ? tmb_little(contents + 4, 4) : 0;
            if (tag != 3 || channels == 0 || rate == 0 || rate > INT32_MAX ||
                tmb_little(contents + 12, 2) != channels * 4) {
                return SIZE_MAX;
            }
            head->channels = (int)channels;
            head->rate = (int)rate;
        }
        at = next;
    }
    return SIZE_MAX;
}

bool tmb_ffmpeg_is_installed(void) {
    char *program = NULL;
    const bool found = tmb_child_find("ffmpeg", &program, NULL) == TMB_OK && program != NULL;
    free(program);
    return found;
}

tmb_status tmb_ffmpeg_start(const char *const *arguments, tmb_child_input kind, int file, const char *what,
                            tmb_child *child, tmb_error *error) {
    /* Nothing from our environment: FFREPORT, for one, would have it write files. */
    static const char *const environment[] = {"LC_ALL=C", NULL};
    const char *all[MAX_ARGUMENTS] = {"ffmpeg",    "-nostdin", "-hide_banner", "-nostats",
                                      "-loglevel", "error",    "-threads",     "1"};
    size_t count = 8;
    for (size_t i = 0; arguments[i] != NULL && count + 1 < MAX_ARGUMENTS; i++) {
        all[count++] = arguments[i];
    }
    char *program = NULL;
    tmb_status status = tmb_child_find("ffmpeg", &program, error);
    if (status == TMB_OK && program == NULL) {
        status = tmb_fail(error, TMB_ERROR_UNSUPPORTED, "%s needs the program ffmpeg, which is not installed", what);
    }
    if (status == TMB_OK) {
        const tmb_child_setup setup = {.kind = kind,
                                       .file = file,
                                       .environment = environment,
                                       .processor_seconds = PROCESSOR_SECONDS,
                                       .address_bytes = ADDRESS_BYTES,
                                       .file_bytes = COMPLAINT_BYTES};
        status = tmb_child_start_with(program, all, &setup, child, error);
    }
    free(program);
    return status;
}

void tmb_ffmpeg_complaint(const tmb_child *child, char line[160]) {
    tmb_child_complaint(child, line);
    /* "[mov,mp4 @ 0x5581] moov atom not found" */
    const char *behind = line[0] == '[' ? strstr(line, "] ") : NULL;
    if (behind != NULL) {
        memmove(line, behind + 2, strlen(behind + 2) + 1);
    }
    for (char *c = line; *c != '\0'; c++) {
        if (*c < 0x20 || *c > 0x7e) {
            *c = '?';
        }
    }
}

int tmb_ffmpeg_wait(tmb_child *child) {
    int exit_code = 0;
    const struct timespec rest = {.tv_nsec = 2000000};
    const double deadline = tmb_now() + END_MILLISECONDS / 1000.0;
    while (!tmb_child_ended(child, &exit_code)) {
        if (tmb_now() > deadline) {
            return -1;
        }
        (void)nanosleep(&rest, NULL);
    }
    return exit_code;
}

bool tmb_ffmpeg_poll(const tmb_child *child, bool writing) {
    struct pollfd ends[2] = {{.fd = child->output, .events = POLLIN}, {.fd = child->input, .events = POLLOUT}};
    int ready = 0;
    do {
        ready = poll(ends, writing ? 2 : 1, SILENCE_MILLISECONDS);
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

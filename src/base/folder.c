#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

/* It may be there already, made by anybody. */
static bool make_one(const char *path, mode_t mode) {
    struct stat about;
    if (mkdir(path, mode) == 0) {
        return true;
    }
    int reason = errno;
    bool there = stat(path, &about) == 0;
    errno = there ? ENOTDIR : reason;
    return there && S_ISDIR(about.st_mode);
}

/* Without an allocation: a full memory is somebody else's to tell. */
bool tmb_make_folders(const char *path, mode_t mode) {
    char copy[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof copy) {
        errno = length == 0 ? ENOENT : ENAMETOOLONG;
        return false;
    }
    memcpy(copy, path, length + 1);
    bool made = true;
    for (char *slash = copy; made && (slash = strchr(slash + 1, '/')) != NULL;) {
        *slash = '\0';
        made = make_one(copy, mode);
        *slash = '/';
    }
    return made && make_one(copy, mode);
}

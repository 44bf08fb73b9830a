/* Disk errors on demand, for scripts/crash_campaign.py: a library that is loaded before libc (LD_PRELOAD, Linux).

   In the folder FAULT_DIR, calls of FAULT_CALL (open, write, fsync, rename) on files whose path contains FAULT_FILE fail
   with FAULT_ERRNO, from the one after the first FAULT_SKIP on. FAULT_FILE "=" is the folder itself. A write first takes
   FAULT_SHORT bytes, as a disk does that is nearly full. Files that are opened for reading are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int skipped = 0;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

/* 1 where this call is one to fail. */
static int hit(const char *call, const char *path) {
    const char *wanted = getenv("FAULT_CALL"), *folder = getenv("FAULT_DIR"), *file = getenv("FAULT_FILE");
    if (!wanted || !folder || !file || strcmp(call, wanted) != 0 || strncmp(path, folder, strlen(folder)) != 0)
        return 0;
    path += strlen(folder);
    if (strcmp(file, "=") == 0 ? *path != 0 : !strstr(path, file))
        return 0;
    return skipped++ >= number("FAULT_SKIP");
}

static int hit_descriptor(const char *call, int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return hit(call, path);
}

static int fail(void) {
    errno = (int)number("FAULT_ERRNO");
    return -1;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        static int (*real)(const char *, int, ...);                                                                    \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        int mode = va_arg(more, int);                                                                                  \
        va_end(more);                                                                                                  \
        if (!real)                                                                                                     \
            real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name);                                           \
        return (flags & O_ACCMODE) != O_RDONLY && hit("open", path) ? fail() : real(path, flags, mode);                \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int descriptor, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (!hit_descriptor("write", descriptor))
        return real(descriptor, data, size);
    long room = number("FAULT_SHORT");
    if (room <= 0 || (size_t)room >= size)
        return fail();
    setenv("FAULT_SHORT", "0", 1);
    return real(descriptor, data, (size_t)room);
}

int fsync(int descriptor) {
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return hit_descriptor("fsync", descriptor) ? fail() : real(descriptor);
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real)
        real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    return hit("rename", to) ? fail() : real(from, to);
}

int renameat(int here, const char *from, int there, const char *to) {
    static int (*real)(int, const char *, int, const char *);
    if (!real)
        real = (int (*)(int, const char *, int, const char *))dlsym(RTLD_NEXT, "renameat");
    return hit("rename", to) ? fail() : real(here, from, there, to);
}

/* Makes calls to the system fail, for files whose path begins with a given text.
 *
 * Preloaded into a Python process (LD_PRELOAD) by tests/test_faults.py, which maps the file named by
 * FAULTS_CONTROL too, and so says at any moment which call is to fail, and how. Calls are counted
 * while `is_armed`; the one whose turn `fail_at` is fails, and if `is_sticky` all that follow it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* As in test_faults.py: CONTROL. */
struct control {
    int64_t is_armed, fail_at, is_sticky, error, count, failed, kind, kinds_failed;
    char prefix[4096];
};

enum { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, TRUNCATE = 16, MAP = 32, UNLINK = 64, RENAME = 128,
       STAT = 256 };

static struct control *control;
static char ours[65536]; /* Which descriptors are of such files. */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULTS_CONTROL");
    int file = path ? REAL(open)(path, O_RDWR) : -1;
    if (file < 0)
        return;
    void *at = REAL(mmap)(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    control = at == MAP_FAILED ? NULL : at;
    REAL(close)(file);
}

static int is_ours(const char *path)
{
    size_t size = control ? strlen(control->prefix) : 0;
    return size && path && strncmp(path, control->prefix, size) == 0;
}

static int is_open(int file)
{
    return file >= 0 && file < (int)sizeof ours && ours[file];
}

/* Whether this call is to fail; sets errno if so. */
static int fails(int kind)
{
    if (!control->is_armed || !(kind & control->kind))
        return 0;
    int64_t turn = __sync_add_and_fetch(&control->count, 1);
    if (control->is_sticky ? turn < control->fail_at : turn != control->fail_at)
        return 0;
    __sync_add_and_fetch(&control->failed, 1);
    __sync_or_and_fetch(&control->kinds_failed, kind);
    errno = (int)control->error;
    return 1;
}

static int opened(const char *path, int file)
{
    if (file >= 0 && file < (int)sizeof ours)
        ours[file] = is_ours(path);
    return file;
}

#define MODE(flags)                                  \
    mode_t mode = 0;                                 \
    if (flags & (O_CREAT | O_TMPFILE)) {             \
        va_list more;                                \
        va_start(more, flags);                       \
        mode = va_arg(more, mode_t);                 \
        va_end(more);                                \
    }

#define DEFINE_OPEN(name)                            \
    int name(const char *path, int flags, ...)       \
    {                                                \
        MODE(flags)                                  \
        if (is_ours(path) && fails(OPEN))            \
            return -1;                               \
        return opened(path, REAL(name)(path, flags, mode)); \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

#define DEFINE_OPENAT(name)                          \
    int name(int folder, const char *path, int flags, ...) \
    {                                                \
        MODE(flags)                                  \
        if (is_ours(path) && fails(OPEN))            \
            return -1;                               \
        return opened(path, REAL(name)(folder, path, flags, mode)); \
    }
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

int close(int file)
{
    if (file >= 0 && file < (int)sizeof ours)
        ours[file] = 0;
    return REAL(close)(file);
}

/* Calls on a descriptor, and on a path. */
#define ON_FILE(type, kind, failure, name, parameters, arguments) \
    type name parameters                             \
    {                                                \
        if (is_open(file) && fails(kind))            \
            return failure;                          \
        return REAL(name) arguments;                 \
    }
#define ON_PATH(kind, name, parameters, arguments)   \
    int name parameters                              \
    {                                                \
        if (is_ours(path) && fails(kind))            \
            return -1;                               \
        return REAL(name) arguments;                 \
    }

ON_FILE(ssize_t, READ, -1, read, (int file, void *to, size_t size), (file, to, size))
ON_FILE(ssize_t, READ, -1, pread, (int file, void *to, size_t size, off_t at), (file, to, size, at))
ON_FILE(ssize_t, READ, -1, pread64, (int file, void *to, size_t size, off64_t at),
        (file, to, size, at))
ON_FILE(ssize_t, WRITE, -1, write, (int file, const void *from, size_t size), (file, from, size))
ON_FILE(ssize_t, WRITE, -1, pwrite, (int file, const void *from, size_t size, off_t at),
        (file, from, size, at))
ON_FILE(ssize_t, WRITE, -1, pwrite64, (int file, const void *from, size_t size, off64_t at),
        (file, from, size, at))
ON_FILE(int, SYNC, -1, fsync, (int file), (file))
ON_FILE(int, SYNC, -1, fdatasync, (int file), (file))
ON_FILE(int, TRUNCATE, -1, ftruncate, (int file, off_t size), (file, size))
ON_FILE(int, TRUNCATE, -1, ftruncate64, (int file, off64_t size), (file, size))
ON_FILE(void *, MAP, MAP_FAILED, mmap,
        (void *to, size_t size, int access, int flags, int file, off_t at),
        (to, size, access, flags, file, at))
ON_FILE(void *, MAP, MAP_FAILED, mmap64,
        (void *to, size_t size, int access, int flags, int file, off64_t at),
        (to, size, access, flags, file, at))
ON_FILE(int, STAT, -1, fstat, (int file, struct stat *to), (file, to))
ON_FILE(int, STAT, -1, fstat64, (int file, struct stat64 *to), (file, to))
ON_PATH(STAT, stat, (const char *path, struct stat *to), (path, to))
ON_PATH(STAT, stat64, (const char *path, struct stat64 *to), (path, to))
ON_PATH(UNLINK, unlink, (const char *path), (path))
ON_PATH(RENAME, rename, (const char *path, const char *to), (path, to))

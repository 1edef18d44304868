/* Preloaded into a server: its wall clock is the number of microseconds in the file FROZEN_TIME.
   Only gettimeofday() is replaced, which is what redis-server reads; timers go by another clock. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

static volatile long long *now_us;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FROZEN_TIME");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) abort();
    now_us = mmap(0, sizeof *now_us, PROT_READ, MAP_SHARED, file, 0);
    if (now_us == MAP_FAILED) abort();
    close(file);
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    long long us = *now_us;
    (void)zone;
    now->tv_sec = us / 1000000;
    now->tv_usec = us % 1000000;
    return 0;
}

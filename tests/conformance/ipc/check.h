// What the programs here share: printing results so that two runs can be compared.
#ifndef CHECK_H
#define CHECK_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *error_name(int number) {
    switch (number) {
    case EPERM: return "EPERM";
    case ENOENT: return "ENOENT";
    case EINTR: return "EINTR";
    case ENXIO: return "ENXIO";
    case EBADF: return "EBADF";
    case EAGAIN: return "EAGAIN";
    case EFAULT: return "EFAULT";
    case EBUSY: return "EBUSY";
    case EEXIST: return "EEXIST";
    case EINVAL: return "EINVAL";
    case ENOTTY: return "ENOTTY";
    case ESPIPE: return "ESPIPE";
    case EPIPE: return "EPIPE";
    case ELOOP: return "ELOOP";
    case ENOTSOCK: return "ENOTSOCK";
    case EDESTADDRREQ: return "EDESTADDRREQ";
    case EMSGSIZE: return "EMSGSIZE";
    case EPROTOTYPE: return "EPROTOTYPE";
    case ENOPROTOOPT: return "ENOPROTOOPT";
    case EPROTONOSUPPORT: return "EPROTONOSUPPORT";
    case ESOCKTNOSUPPORT: return "ESOCKTNOSUPPORT";
    case EOPNOTSUPP: return "EOPNOTSUPP";
    case EADDRINUSE: return "EADDRINUSE";
    case ECONNRESET: return "ECONNRESET";
    case EISCONN: return "EISCONN";
    case ENOTCONN: return "ENOTCONN";
    case ETIMEDOUT: return "ETIMEDOUT";
    case ECONNREFUSED: return "ECONNREFUSED";
    default: return "another error";
    }
}

// Prints the name of a call and its result or error.
#define SHOW(call)                                              \
    ({                                                          \
        errno = 0;                                              \
        long shown_ = (long)(call);                             \
        if (shown_ == -1)                                       \
            printf("  %s: %s\n", #call, error_name(errno));     \
        else                                                    \
            printf("  %s: %ld\n", #call, shown_);               \
        fflush(stdout);                                         \
        shown_;                                                 \
    })

// Ends the program if a step that the test rests on fails.
#define NEED(call)                                                              \
    ({                                                                          \
        long needed_ = (long)(call);                                            \
        if (needed_ == -1) {                                                    \
            printf("%s failed: %s (%d)\n", #call, error_name(errno), errno);    \
            exit(1);                                                            \
        }                                                                       \
        needed_;                                                                \
    })

__attribute__((unused)) static void title(const char *text) {
    printf("%s\n", text);
    fflush(stdout);
}

__attribute__((unused)) static int64_t now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

__attribute__((unused)) static void sleep_ms(int ms) {
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&time, &time) == -1 && errno == EINTR) {
    }
}

// Whether a time lies between two others, in words.
__attribute__((unused)) static const char *within(int64_t value, int64_t low, int64_t high) {
    return value < low ? "too early" : value > high ? "too late" : "in time";
}
#endif

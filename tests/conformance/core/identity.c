// Who the program is, and what it may become; scheduling calls with odd arguments.
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

#define SHOW(call) do { \
    errno = 0; \
    int result = call; \
    printf("  %s: %d %s\n", #call, result, errno ? strerrorname_np(errno) : "-"); \
} while (0)

static void who(void) {
    uid_t ids[3];
    gid_t groups[3], list[8] = {0};
    getresuid(&ids[0], &ids[1], &ids[2]);
    getresgid(&groups[0], &groups[1], &groups[2]);
    printf("  users %d %d %d, groups %d %d %d, more:", ids[0], ids[1], ids[2], groups[0], groups[1], groups[2]);
    int count = getgroups(8, list);
    for (int i = 0; i < count; i++) printf(" %d", list[i]);
    puts("");
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status))
        if (!strncmp(line, "Uid:", 4) || !strncmp(line, "Gid:", 4)) fputs(line, stdout);
    fclose(status);
}

int main(void) {
    if (getuid() != 0) return puts("not root"), 0;
    gid_t groups[3] = {30, 10, 20};
    SHOW(setgroups(3, groups));
    SHOW(getgroups(0, 0));
    SHOW(getgroups(2, groups));
    SHOW(getgroups(-1, groups));
    who();
    SHOW(setresgid(5, 6, 7));
    SHOW(setregid(-1, 8));
    SHOW(seteuid(1000));
    SHOW(setfsuid(-1));
    who();
    SHOW(setgroups(0, 0));
    SHOW(setuid(33));
    SHOW(setuid(0));
    who();
    SHOW(setgid(33));
    SHOW(setgid(-1));
    SHOW(setuid(33));
    who();
    SHOW(setuid(0));
    SHOW(setreuid(0, -1));
    SHOW(setresuid(-1, 34, -1));
    SHOW(setgid(6));
    SHOW(setgid(5));
    who();
    struct sched_param normal = {0}, high = {5};
    cpu_set_t none, first;
    CPU_ZERO(&none);
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    SHOW(sched_getscheduler(0));
    SHOW(sched_getscheduler(-1));
    SHOW(sched_getscheduler(999999));
    SHOW(sched_getparam(0, &normal));
    SHOW(sched_getparam(999999, &normal));
    SHOW(sched_setscheduler(0, SCHED_OTHER, &normal));
    SHOW(sched_setscheduler(0, SCHED_OTHER, &high));
    SHOW(sched_setscheduler(0, 77, &normal));
    SHOW(sched_setparam(0, &high));
    SHOW(sched_setaffinity(0, sizeof none, &none));
    SHOW(sched_setaffinity(0, sizeof first, &first));
    SHOW(sched_setaffinity(999999, sizeof first, &first));
    SHOW(sched_getaffinity(999999, sizeof first, &first));
}

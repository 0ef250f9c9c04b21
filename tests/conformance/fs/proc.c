// /proc, /sys and /dev: the shape of what programs read there.
#include "check.h"
#include <pthread.h>
#include <sys/syscall.h>

static char text[1 << 20];

static long read_all(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) return -1;
    long len = 0, part;
    while ((part = read(fd, text + len, sizeof text - 1 - len)) > 0) len += part;
    text[len] = 0;
    close(fd);
    return len;
}

// Numbers in paths differ from run to run: `shown` is what is printed.
static void has_as(const char *shown, const char *path, const char *const *words) {
    if (read_all(path) < 0) {
        printf("  %s: %s\n", shown, strerrorname_np(errno));
        return;
    }
    printf("  %s:", shown);
    for (; *words; words++) printf(" %s%s", strstr(text, *words) ? "" : "no ", *words);
    printf("\n");
}

static void has(const char *path, const char *const *words) { has_as(path, path, words); }

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void maps(void) {
    title("maps");
    // What pthread_getattr_np looks for: the line that holds the main stack.
    unsigned long here = (unsigned long)&here, from, to;
    FILE *file = fopen("/proc/self/maps", "r");
    char line[1000], flags[8], name[500];
    long inode;
    int lines = 0, broken = 0, vdso = 0;
    unsigned long last = 0, offset;
    unsigned major, minor;
    while (fgets(line, sizeof line, file)) {
        name[0] = 0;
        int count = sscanf(line, "%lx-%lx %4s %lx %x:%x %ld %499s", &from, &to, flags, &offset, &major, &minor, &inode, name);
        if (count < 7 || from >= to || from < last || line[strlen(line) - 1] != '\n') broken++;
        if (name[0] && line[73] != name[0] && strlen(line) > 74) broken++;
        last = to;
        lines++;
        if (from <= here && here < to) printf("  stack: %s %s\n", flags, name);
        if (!strcmp(name, "[heap]")) printf("  %s %s\n", name, flags);
        vdso += !strcmp(name, "[vdso]") && !strcmp(flags, "r-xp");
    }
    printf("  %s, %d broken, %d vdso\n", lines > 10 ? "many lines" : "few lines", broken, vdso);
    pthread_attr_t attributes;
    void *address;
    size_t size;
    NEED(pthread_getattr_np(pthread_self(), &attributes) ? -1 : 0);
    NEED(pthread_attr_getstack(&attributes, &address, &size) ? -1 : 0);
    printf("  stack size %s\n", size > (7 << 20) && size <= (8 << 20) ? "of 8 MB" : "unexpected");
    printf("  %s\n", (char *)address < (char *)&size && (char *)&size < (char *)address + size ? "inside" : "outside");
}

static void process(int argc, char **argv) {
    title("process");
    char path[300] = "", other[300] = "";
    NEED(readlink("/proc/self", path, sizeof path));
    printf("  self %s\n", atoi(path) == getpid() ? "is the process" : path);
    NEED(readlink("/proc/thread-self", other, sizeof other));
    printf("  thread %s\n", atoi(other) == getpid() && strstr(other, "/task/") ? "is ours" : other);
    memset(path, 0, sizeof path);
    NEED(readlink("/proc/self/exe", path, sizeof path - 1));
    printf("  exe ends %s\n", strrchr(path, '/'));
    SHOW(access("/proc/self/exe", R_OK));
    memset(path, 0, sizeof path);
    NEED(readlink("/proc/self/cwd", path, sizeof path - 1));
    printf("  cwd %s\n", strcmp(path, scratch) ? path : "is ours");
    memset(path, 0, sizeof path);
    NEED(readlink("/proc/self/root", path, sizeof path - 1));
    printf("  root %s\n", path);
    read_all("/proc/self/cmdline");
    printf("  cmdline %s\n", strcmp(text, argv[0]) ? text : "is argv[0]");
    read_all("/proc/self/comm");
    printf("  comm %s", text);
    int fd = NEED(open("/proc/self/comm", O_WRONLY));
    SHOW(write(fd, "renamed", 7));
    read_all("/proc/self/comm");
    printf("  comm %s", text);
    read_all("/proc/self/stat");
    int pid, ppid, fields = 0;
    char state;
    sscanf(text, "%d (renamed) %c %d", &pid, &state, &ppid);
    for (char *at = text; *at; at++) fields += *at == ' ';
    printf("  stat %s %c %d fields\n", pid == getpid() && ppid == getppid() ? "ours" : text, state, fields + 1);
    long pages[7];
    read_all("/proc/self/statm");
    printf("  statm %d", sscanf(text, "%ld %ld %ld %ld %ld %ld %ld", pages, pages + 1, pages + 2, pages + 3, pages + 4, pages + 5, pages + 6));
    printf(" %s\n", pages[0] >= pages[1] && pages[1] > 0 && pages[1] >= pages[2] ? "plausible" : text);
    has("/proc/self/status", WORDS("Name:\trenamed", "Umask:\t0022", "VmRSS:", "VmSize:", "Threads:\t1", "SigCgt:", "Cpus_allowed_list:"));
    has("/proc/self/limits", WORDS("Max open files", "Max stack size            8388608"));
    has("/proc/self/io", WORDS("read_bytes: "));
    has("/proc/self/mountinfo", WORDS(" / / ", " /proc ", " /sys "));
    has("/proc/self/mounts", WORDS("proc /proc proc", "sysfs /sys sysfs"));
    SHOW(read_all("/proc/self/none"));
    SHOW(read_all("/proc/99999999/stat"));
    SHOW(open("/proc/self/stat", O_WRONLY | O_CREAT, 0600) >= 0);
    SHOW(mkdir("/proc/x", 0700));
    SHOW(open("/proc/self/new", O_WRONLY | O_CREAT, 0600));
}

static void descriptors(void) {
    title("descriptors");
    put("f", "12345678");
    int fd = NEED(open("f", O_RDWR | O_APPEND | O_CLOEXEC));
    char path[64], shown[300] = "";
    NEED(lseek(fd, 3, SEEK_SET));
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    has_as("fdinfo", path, WORDS("pos:\t3\n", "flags:\t02102002\n", "mnt_id:"));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    NEED(readlink(path, shown, sizeof shown - 1));
    printf("  %s\n", shown + strlen(scratch));
    NEED(rename("f", "g"));
    memset(shown, 0, sizeof shown);
    NEED(readlink(path, shown, sizeof shown - 1));
    printf("  %s\n", shown + strlen(scratch));
    struct stat status;
    NEED(lstat(path, &status));
    printf("  %s\n", S_ISLNK(status.st_mode) ? "a link" : "no link");
    NEED(stat(path, &status));
    printf("  size %ld\n", (long)status.st_size);
    int again = NEED(open(path, O_RDONLY));
    char byte;
    SHOW(read(again, &byte, 1));
    printf("  %c\n", byte);
    close(again);
    DIR *directory = opendir("/proc/self/fd");
    int found = 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        found |= (atoi(entry->d_name) == fd) | (atoi(entry->d_name) == dirfd(directory)) << 1;
    closedir(directory);
    printf("  listed %d\n", found);
    int ends[2];
    NEED(pipe(ends));
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    memset(shown, 0, sizeof shown);
    NEED(readlink(path, shown, sizeof shown - 1));
    printf("  %.6s\n", shown);
    SHOW(open("/proc/self/fd/999", O_RDONLY));
    NEED(write(ends[1], "through", 7));
    again = NEED(open(path, O_RDONLY));
    SHOW(read(again, shown, 3));
    NEED(unlink("g"));
    SHOW(open("/dev/stdout", O_WRONLY) >= 0);
}

static void machine(void) {
    title("machine");
    has("/proc/meminfo", WORDS("MemTotal: ", "MemFree: ", "MemAvailable: ", " kB\n", "SwapTotal: "));
    has("/proc/cpuinfo", WORDS("processor\t: 0", "model name\t: ", "cpu MHz\t\t: ", "flags\t\t: fpu ", "sse4_2"));
    has("/proc/stat", WORDS("cpu  ", "cpu0 ", "btime ", "ctxt "));
    has("/proc/uptime", WORDS("."));
    has("/proc/loadavg", WORDS("/"));
    has("/proc/version", WORDS("Linux version "));
    has("/proc/filesystems", WORDS("nodev\ttmpfs", "nodev\tproc"));
    has("/proc/mounts", WORDS("proc /proc proc"));
    has("/proc/sys/kernel/pid_max", WORDS("\n"));
    has("/proc/sys/kernel/osrelease", WORDS("."));
    has("/proc/sys/kernel/random/boot_id", WORDS("-", "\n"));
    has("/proc/sys/kernel/random/uuid", WORDS("-4", "\n"));
    has("/proc/sys/net/core/somaxconn", WORDS("4096"));
    has("/proc/sys/vm/overcommit_memory", WORDS("\n"));
    has("/proc/sys/vm/max_map_count", WORDS("\n"));
    has("/proc/net/dev", WORDS("Receive", " lo:"));
    has("/proc/net/tcp", WORDS("local_address"));
    has("/sys/devices/system/cpu/online", WORDS("0"));
    has("/sys/devices/system/cpu/possible", WORDS("0"));
    has("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", WORDS("2097152\n"));
    has("/sys/kernel/mm/transparent_hugepage/enabled", WORDS("madvise"));
    long first = read_all("/proc/sys/kernel/random/boot_id");
    char before[100];
    strcpy(before, text);
    read_all("/proc/sys/kernel/random/boot_id");
    printf("  boot id of %ld %s\n", first, strcmp(before, text) ? "changes" : "stays");
    read_all("/proc/sys/kernel/random/uuid");
    strcpy(before, text);
    read_all("/proc/sys/kernel/random/uuid");
    printf("  uuid %s\n", strcmp(before, text) ? "changes" : "stays");
}

static void *in_thread(void *unused) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%ld/comm", syscall(SYS_gettid));
    pthread_setname_np(pthread_self(), "worker");
    has_as("task", path, WORDS("worker"));
    has("/proc/thread-self/comm", WORDS("worker"));
    has("/proc/self/comm", WORDS("renamed"));
    DIR *directory = opendir("/proc/self/task");
    int count = 0;
    while (readdir(directory)) count++;
    closedir(directory);
    printf("  %d entries\n", count);
    return NULL;
}

int main(int argc, char **argv) {
    enter_scratch();
    free(malloc(1000));
    maps();
    process(argc, argv);
    descriptors();
    machine();
    title("threads");
    pthread_t thread;
    pthread_create(&thread, NULL, in_thread, NULL);
    pthread_join(thread, NULL);
    leave_scratch();
}

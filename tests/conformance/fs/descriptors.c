// Descriptors: duplicates, flags, ranges, locks, ioctl.
#include "check.h"
#include <sys/file.h>
#include <sys/ioctl.h>
#include <linux/fs.h>

static void duplicates(void) {
    title("duplicates");
    int fd = NEED(open("f", O_RDWR | O_CREAT, 0600));
    SHOW(dup2(fd, 50));
    SHOW(dup2(50, 50));
    SHOW(dup2(999, 50));
    SHOW(dup2(fd, -1));
    SHOW(dup3(fd, 51, O_CLOEXEC));
    SHOW(dup3(fd, fd, 0));
    SHOW(dup3(fd, 52, 1));
    SHOW(fcntl(50, F_GETFD));
    SHOW(fcntl(51, F_GETFD));
    SHOW(fcntl(51, F_SETFD, 0));
    SHOW(fcntl(51, F_GETFD));
    SHOW(fcntl(fd, F_DUPFD, 60));
    SHOW(fcntl(fd, F_DUPFD_CLOEXEC, 60));
    SHOW(fcntl(61, F_GETFD));
    SHOW(fcntl(fd, F_DUPFD, -1));
    SHOW(fcntl(999, F_GETFD));
    SHOW(fcntl(fd, 12345));
    SHOW(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK));
    printf("  flags %o %o\n", fcntl(fd, F_GETFL), fcntl(50, F_GETFL));
    SHOW(fcntl(fd, F_SETFL, 0));
    SHOW(close_range(50, 55, 0));
    SHOW(fcntl(50, F_GETFD));
    SHOW(close_range(60, 70, CLOSE_RANGE_CLOEXEC));
    SHOW(fcntl(60, F_GETFD));
    SHOW(close_range(70, 60, 0));
    SHOW(close_range(60, ~0U, 0));
    SHOW(fcntl(60, F_GETFD));
    close(fd);
    int low = dup(0);
    SHOW(low == fd);
    close(low);
    int ends[2];
    NEED(pipe(ends));
    SHOW(fcntl(ends[0], F_GETPIPE_SZ));
    close(ends[0]);
    close(ends[1]);
    fd = NEED(open("f", O_RDWR));
    SHOW(fcntl(fd, F_GETPIPE_SZ));
    close(fd);
}

static void locks(void) {
    title("locks");
    int one = NEED(open("f", O_RDWR)), two = NEED(open("f", O_RDWR)), reader = NEED(open("f", O_RDONLY));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
    SHOW(fcntl(one, F_SETLK, &lock));
    SHOW(fcntl(two, F_SETLK, &lock));
    SHOW(fcntl(one, F_GETLK, &lock));
    printf("  type %d\n", lock.l_type);
    lock.l_type = F_WRLCK;
    SHOW(fcntl(reader, F_SETLK, &lock));
    lock.l_type = 99;
    SHOW(fcntl(one, F_SETLK, &lock));
    lock.l_type = F_UNLCK;
    SHOW(fcntl(one, F_SETLKW, &lock));
    lock = (struct flock){.l_type = F_WRLCK, .l_start = 5, .l_len = 10};
    SHOW(fcntl(one, F_OFD_SETLK, &lock));
    SHOW(fcntl(two, F_OFD_SETLK, &lock));
    lock.l_start = 0;
    lock.l_len = 6;
    SHOW(fcntl(two, F_OFD_SETLK, &lock));
    lock.l_len = 5;
    SHOW(fcntl(two, F_OFD_SETLK, &lock));
    lock = (struct flock){.l_type = F_RDLCK, .l_start = 0, .l_len = 0};
    SHOW(fcntl(two, F_OFD_GETLK, &lock));
    printf("  type %d start %ld len %ld pid %d\n", lock.l_type, (long)lock.l_start, (long)lock.l_len, lock.l_pid);
    SHOW(close(one));
    lock = (struct flock){.l_type = F_WRLCK, .l_start = 5, .l_len = 10};
    SHOW(fcntl(two, F_OFD_SETLK, &lock));
    one = NEED(open("f", O_RDWR));
    SHOW(flock(one, LOCK_EX));
    SHOW(flock(two, LOCK_EX | LOCK_NB));
    SHOW(flock(two, LOCK_SH | LOCK_NB));
    SHOW(flock(one, LOCK_SH));
    SHOW(flock(two, LOCK_SH | LOCK_NB));
    SHOW(flock(one, LOCK_EX | LOCK_NB));
    SHOW(flock(one, LOCK_UN));
    SHOW(flock(two, LOCK_EX | LOCK_NB));
    SHOW(flock(one, 16));
    SHOW(flock(999, LOCK_EX));
    close(one);
    close(two);
    close(reader);
}

static void requests(void) {
    title("requests");
    int fd = NEED(open("f", O_RDWR));
    int value = 1, other = NEED(open("g", O_RDWR | O_CREAT, 0600));
    char terminal[64];
    NEED(write(fd, "12345", 5));
    NEED(lseek(fd, 2, SEEK_SET));
    SHOW(ioctl(fd, FIONREAD, &value));
    printf("  %d\n", value);
    SHOW(ioctl(fd, FIOCLEX));
    SHOW(fcntl(fd, F_GETFD));
    SHOW(ioctl(fd, FIONCLEX));
    SHOW(fcntl(fd, F_GETFD));
    value = 1;
    SHOW(ioctl(fd, FIONBIO, &value));
    printf("  flags %o\n", fcntl(fd, F_GETFL));
    value = 0;
    SHOW(ioctl(fd, FIONBIO, &value));
    printf("  flags %o\n", fcntl(fd, F_GETFL));
    SHOW(ioctl(fd, 0x5401, terminal));
    SHOW(ioctl(fd, 0x5413, terminal));
    SHOW(ioctl(fd, FICLONE, other));
    SHOW(ioctl(999, FIONBIO, &value));
    int null = NEED(open("/dev/null", O_RDWR));
    SHOW(ioctl(null, 0x5401, terminal));
    SHOW(isatty(null));
    NEED(unlink("f"));
    NEED(unlink("g"));
}

static void devices(void) {
    title("devices");
    char bytes[16] = "0123456789";
    int null = NEED(open("/dev/null", O_RDWR)), zero = NEED(open("/dev/zero", O_RDWR)), full = NEED(open("/dev/full", O_RDWR));
    SHOW(read(null, bytes, 4));
    SHOW(write(null, bytes, 4));
    SHOW(read(zero, bytes, 4));
    printf("  %d %d %c\n", bytes[0], bytes[3], bytes[4]);
    SHOW(write(full, bytes, 4));
    SHOW(read(full, bytes, 4));
    int random = NEED(open("/dev/urandom", O_RDONLY));
    SHOW(read(random, bytes, 16));
    SHOW(open("/dev/none", O_RDONLY));
    list("/dev/shm/none");
    char path[64] = "";
    SHOW(readlink("/dev/fd", path, sizeof path));
    SHOW(ftruncate(null, 0));
    SHOW(open("/dev/null", O_WRONLY | O_TRUNC | O_CREAT, 0600) >= 0);
}

int main(void) {
    enter_scratch();
    duplicates();
    locks();
    requests();
    devices();
    leave_scratch();
}

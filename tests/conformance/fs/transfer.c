// Moving bytes: positions, vectors, sparse files, bad addresses, copies between files.
#include "check.h"
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <linux/falloc.h>

static char *fenced;  // one page before memory that is not there

static void positions(void) {
    title("positions");
    int fd = NEED(open("p", O_RDWR | O_CREAT, 0600));
    char text[32] = "";
    SHOW(write(fd, "0123456789", 10));
    SHOW(lseek(fd, -3, SEEK_CUR));
    SHOW(read(fd, text, 32));
    SHOW(read(fd, text, 32));
    SHOW(lseek(fd, -1, SEEK_SET));
    SHOW(lseek(fd, 5, SEEK_END));
    SHOW(lseek(fd, 0, 99));
    SHOW(read(fd, text, 1));
    SHOW(write(fd, "x", 1));
    SHOW(pread(fd, text, 32, 8));
    printf("  %d %d %c\n", text[1], text[2], text[7]);
    SHOW(pread(fd, text, 1, -1));
    SHOW(pwrite(fd, "AB", 2, 4));
    SHOW(lseek(fd, 0, SEEK_CUR));
    int other = dup(fd);
    SHOW(lseek(other, 4, SEEK_SET));
    SHOW(read(fd, text, 2));
    printf("  %.2s\n", text);
    int append = NEED(open("p", O_RDWR | O_APPEND));
    SHOW(write(append, "end", 3));
    SHOW(lseek(append, 0, SEEK_CUR));
    SHOW(pwrite(append, "END", 3, 0));
    struct stat status;
    NEED(fstat(append, &status));
    printf("  size %ld\n", (long)status.st_size);
    SHOW(read(fd, NULL, 0));
    SHOW(write(fd, NULL, 0));
    NEED(unlink("p"));
}

static void vectors(void) {
    title("vectors");
    int fd = NEED(open("v", O_RDWR | O_CREAT, 0600));
    char a[4] = "", b[4] = "", many[20][2];
    struct iovec out[3] = {{"abc", 3}, {"", 0}, {"defg", 4}};
    struct iovec in[3] = {{a, 3}, {b, 3}, {NULL, 0}};
    SHOW(writev(fd, out, 3));
    SHOW(lseek(fd, 0, SEEK_SET));
    SHOW(readv(fd, in, 3));
    printf("  %.3s %.3s\n", a, b);
    SHOW(preadv(fd, in, 2, 5));
    SHOW(pwritev(fd, out, 3, 2));
    SHOW(preadv2(fd, in, 2, 0, 0));
    SHOW(preadv2(fd, in, 2, -1, 0));
    SHOW(pwritev2(fd, out, 3, -1, 0));
    SHOW(readv(fd, in, -1));
    SHOW(readv(fd, in, 1025));
    struct iovec broken[2] = {{a, 3}, {b, (size_t)-1}};
    SHOW(readv(fd, broken, 2));
    SHOW(writev(fd, NULL, 1));
    SHOW(writev(fd, out, 0));
    struct iovec list[20];
    for (int at = 0; at < 20; at++) list[at] = (struct iovec){many[at], 2};
    memset(many, 'm', sizeof many);
    SHOW(pwritev(fd, list, 20, 0));
    SHOW(preadv(fd, list, 20, 0));
    NEED(unlink("v"));
}

static void bad_addresses(void) {
    title("bad addresses");
    int fd = NEED(open("e", O_RDWR | O_CREAT, 0600));
    SHOW(write(fd, (char *)16, 5));
    SHOW(write(fd, fenced + 4096, 5));
    struct stat status;
    NEED(fstat(fd, &status));
    printf("  size %ld\n", (long)status.st_size);
    NEED(write(fd, "0123456789", 10));
    SHOW(pread(fd, (char *)16, 5, 0));
    struct iovec half[2] = {{fenced, 4}, {fenced + 4096, 4}};
    SHOW(preadv(fd, half, 2, 0));
    SHOW(pwritev(fd, half, 2, 0));
    SHOW(open((char *)16, O_RDONLY));
    SHOW(fstat(fd, (struct stat *)16));
    SHOW(read(fd, (char *)-4096, 5));
    NEED(unlink("e"));
}

static void sparse(void) {
    title("sparse");
    int fd = NEED(open("s", O_RDWR | O_CREAT, 0600));
    SHOW(pwrite(fd, "x", 1, 1 << 20));
    SHOW(pwrite(fd, "y", 1, 3 << 20));
    struct stat status;
    NEED(fstat(fd, &status));
    printf("  size %ld blocks %ld\n", (long)status.st_size, (long)status.st_blocks);
    SHOW(lseek(fd, 0, SEEK_DATA));
    SHOW(lseek(fd, 1 << 20, SEEK_HOLE));
    SHOW(lseek(fd, (1 << 20) + 4096, SEEK_DATA));
    SHOW(lseek(fd, 3 << 20, SEEK_HOLE));
    SHOW(lseek(fd, 4 << 20, SEEK_DATA));
    SHOW(lseek(fd, -1, SEEK_DATA));
    SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096));
    NEED(fstat(fd, &status));
    printf("  size %ld blocks %ld\n", (long)status.st_size, (long)status.st_blocks);
    SHOW(fallocate(fd, 0, 4 << 20, 100));
    NEED(fstat(fd, &status));
    printf("  size %ld blocks %ld\n", (long)status.st_size, (long)status.st_blocks);
    SHOW(fallocate(fd, FALLOC_FL_KEEP_SIZE, 5 << 20, 100));
    SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 100));
    SHOW(fallocate(fd, 0, -1, 100));
    SHOW(fallocate(fd, 0, 0, 0));
    SHOW(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
    SHOW(ftruncate(fd, 10));
    SHOW(ftruncate(fd, 8192));
    NEED(fstat(fd, &status));
    printf("  size %ld blocks %ld\n", (long)status.st_size, (long)status.st_blocks);
    SHOW(ftruncate(fd, -1));
    SHOW(truncate("s", 5));
    SHOW(truncate("none", 5));
    SHOW(truncate(".", 5));
    SHOW(truncate("s", -5));
    int reader = NEED(open("s", O_RDONLY));
    SHOW(fallocate(reader, 0, 0, 10));
    SHOW(fsync(reader));
    SHOW(fdatasync(reader));
    SHOW(syncfs(reader));
    SHOW(sync_file_range(reader, 0, 0, 2));
    SHOW(sync_file_range(reader, -1, 0, 2));
    SHOW(posix_fadvise(reader, 0, 0, POSIX_FADV_WILLNEED));
    SHOW(posix_fadvise(reader, 0, 0, 99));
    NEED(unlink("s"));
}

static void copies(void) {
    title("copies");
    int in = NEED(open("in", O_RDWR | O_CREAT, 0600)), out = NEED(open("out", O_RDWR | O_CREAT, 0600));
    static char big[300000];
    for (int at = 0; at < (int)sizeof big; at++) big[at] = at * 7 + at / 251;
    NEED(write(in, big, sizeof big));
    NEED(lseek(in, 0, SEEK_SET));
    SHOW(sendfile(out, in, NULL, 100000));
    SHOW(lseek(in, 0, SEEK_CUR));
    SHOW(lseek(out, 0, SEEK_CUR));
    off_t at = 100000;
    SHOW(sendfile(out, in, &at, 1000000));
    printf("  offset %ld\n", (long)at);
    SHOW(lseek(in, 0, SEEK_CUR));
    static char again[300000];
    NEED(pread(out, again, sizeof again, 0));
    printf("  %s\n", memcmp(big, again, sizeof big) ? "differs" : "same");
    NEED(ftruncate(out, 0));
    loff_t from = 1000, to = 5;
    SHOW(copy_file_range(in, &from, out, &to, 200000, 0));
    printf("  %ld %ld\n", (long)from, (long)to);
    NEED(pread(out, again, 200000, 5));
    printf("  %s\n", memcmp(big + 1000, again, 200000) ? "differs" : "same");
    from = 0, to = 10;
    SHOW(copy_file_range(in, &from, in, &to, 20, 0));
    SHOW(copy_file_range(in, &from, out, &to, 20, 1));
    int ends[2];
    NEED(pipe(ends));
    at = 0;
    SHOW(sendfile(ends[1], in, &at, 1000));
    SHOW(read(ends[0], again, 5000));
    printf("  %s\n", memcmp(big, again, 1000) ? "differs" : "same");
    SHOW(copy_file_range(ends[0], NULL, out, NULL, 10, 0));
    SHOW(sendfile(999, in, NULL, 10));
    SHOW(pread(ends[0], again, 1, 0));
    SHOW(lseek(ends[0], 0, SEEK_CUR));
    NEED(unlink("in"));
    NEED(unlink("out"));
}

static void mapped(void) {
    title("mapped");
    int fd = NEED(open("m", O_RDWR | O_CREAT, 0600));
    NEED(ftruncate(fd, 10000));
    char *shared = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *private = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    strcpy(shared + 5000, "through the mapping");
    char text[40] = "";
    SHOW(pread(fd, text, 19, 5000));
    printf("  %s\n", text);
    NEED(pwrite(fd, "written", 7, 9000));
    printf("  %s\n", shared + 9000);
    strcpy(private + 100, "mine");
    SHOW(pread(fd, text, 4, 100));
    printf("  %d\n", text[0]);
    // A read into the mapping of the file itself.
    SHOW(pread(fd, shared, 100, 5000));
    printf("  %s\n", shared);
    SHOW(pwrite(fd, shared + 5000, 100, 20000));
    SHOW(msync(shared, 12288, MS_SYNC));
    munmap(shared, 12288);
    munmap(private, 12288);
    SHOW(pread(fd, text, 19, 20000));
    printf("  %s\n", text);
    NEED(unlink("m"));
    // Memory files.
    SHOW(memfd_create("name", MFD_CLOEXEC) >= 0);
    SHOW(memfd_create("name", 0x80));
}

int main(void) {
    enter_scratch();
    fenced = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(mprotect(fenced + 4096, 4096, PROT_NONE));
    positions();
    vectors();
    bad_addresses();
    sparse();
    copies();
    mapped();
    leave_scratch();
}

// Entries that are made, moved and removed by names with a slash behind them.
#include "check.h"

int main(void) {
    mkdir("/tmp/slashes", 0700);
    chdir("/tmp/slashes");
    symlink("/tmp/slashes/none", "dangling");
    mkdir("directory", 0700);
    symlink("directory", "link");
    close(open("file", O_CREAT, 0600));
    SHOW(mkdir("dangling/", 0700));
    SHOW(mkdir("dangling", 0700));
    SHOW(mkdir("file/", 0700));
    SHOW(mkdir("link/", 0700));
    SHOW(mkdir("new//", 0700));
    SHOW(access("none", F_OK));
    SHOW(unlink("dangling/"));
    SHOW(unlink("link/"));
    SHOW(unlink("file/"));
    SHOW(unlink("new/"));
    SHOW(rmdir("link/"));
    SHOW(rmdir("file/"));
    SHOW(symlink("x", "gone/"));
    SHOW(symlink("x", "file/"));
    SHOW(rename("link/", "moved"));
    SHOW(rename("file/", "moved"));
    SHOW(rename("new/", "moved/"));
    SHOW(rmdir("moved//"));
    SHOW(access("link/", F_OK));
    SHOW(unlink("link"));
    SHOW(unlink("dangling"));
    SHOW(unlink("file"));
    SHOW(rmdir("directory"));
    SHOW(rmdir("/tmp/slashes"));
}

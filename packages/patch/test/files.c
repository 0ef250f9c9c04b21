/* System calls of a program without threads: files, pipes, memory, errors, a child. Prints what it saw. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t caught;

static void on_signal(int number) { caught = number; }

int main(void) {
  int ends[2];
  char text[16] = "";
  struct stat about;
  struct timespec moment = {0, 1000};
  signal(SIGUSR1, on_signal);
  raise(SIGUSR1);
  printf("signal %d\n", caught == SIGUSR1);
  if (pipe(ends) || write(ends[1], "packed", 6) != 6) return 1;
  printf("read %d %s\n", (int)read(ends[0], text, sizeof text), text);
  printf("open %d %s\n", open("/nowhere", O_RDONLY), strerror(errno));
  printf("stat %d %d\n", stat("/", &about), S_ISDIR(about.st_mode));
  printf("sleep %d\n", nanosleep(&moment, NULL));
  void *large = malloc(1 << 24);
  memset(large, 1, 1 << 24);
  free(large);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) _exit(7);
  int status = 0;
  waitpid(child, &status, 0);
  printf("child %d\n", WEXITSTATUS(status));
  return 3;
}

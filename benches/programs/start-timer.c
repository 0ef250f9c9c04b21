/* Times the start of two programs in turn:

     start-timer SAMPLES output -- COMMAND... -- COMMAND...
     start-timer SAMPLES PORT -- COMMAND... -- COMMAND...

   From just before the command is started to its first byte of output, or to
   the first byte of its answer to an HTTP request at 127.0.0.1:PORT. Prints two
   numbers of nanoseconds a line, one for each command. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WARM_UP = 3, RETRY_NS = 200000, PATIENCE_S = 20 };

extern char **environ;

static void give_up(const char *what) {
  fprintf(stderr, "start-timer: %s\n", what);
  exit(1);
}

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Starts a command with its output in a pipe. */
static pid_t start(char **command, int *output) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) give_up("no pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  pid_t pid;
  if (posix_spawnp(&pid, command[0], &actions, NULL, command, environ) != 0) give_up("a command cannot be started");
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  *output = ends[0];
  return pid;
}

/* One attempt at a first byte; 0 if nobody listens yet. */
static int answered(int port) {
  int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  /* No TIME_WAIT is left behind on the port. */
  struct linger linger = {1, 0};
  setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  char byte;
  int done = connect(s, (struct sockaddr *)&at, sizeof at) == 0 &&
             send(s, request, sizeof request - 1, MSG_NOSIGNAL) > 0 && recv(s, &byte, 1, 0) == 1;
  close(s);
  return done;
}

static long long sample(int port, char **command) {
  int output;
  char bytes[4096];
  long long begin = now(), end;
  pid_t pid = start(command, &output);
  if (port == 0) {
    if (read(output, bytes, 1) != 1) give_up("a command ended without output");
    end = now();
  } else {
    struct timespec pause = {0, RETRY_NS};
    while (!answered(port)) {
      if (now() - begin > PATIENCE_S * 1000000000LL || waitpid(pid, NULL, WNOHANG) == pid)
        give_up("a server does not answer");
      nanosleep(&pause, NULL);
    }
    end = now();
    kill(pid, SIGTERM);
  }
  while (read(output, bytes, sizeof bytes) > 0) {}
  close(output);
  waitpid(pid, NULL, 0);
  return end - begin;
}

/* Ends the word list that begins at `from`; gives the place behind its "--". */
static int split(int argc, char **argv, int from) {
  while (from < argc && strcmp(argv[from], "--") != 0) from++;
  if (from < argc) argv[from] = NULL;
  return from + 1;
}

int main(int argc, char **argv) {
  if (argc < 7) give_up("usage: start-timer SAMPLES output|PORT -- COMMAND... -- COMMAND...");
  int samples = atoi(argv[1]), port = atoi(argv[2]);
  int second = split(argc, argv, 4);
  if (second >= argc) give_up("there is no second command");
  for (int i = -WARM_UP; i < samples; i++) {
    long long one = sample(port, argv + 4), other = sample(port, argv + second);
    if (i >= 0) printf("%lld %lld\n", one, other);
  }
  return 0;
}

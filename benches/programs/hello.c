/* The smallest program with output, for the boot of a static program. */

#include <unistd.h>

int main(void) {
  static const char text[] = "hello\n";
  return write(1, text, sizeof text - 1) == sizeof text - 1 ? 0 : 1;
}

//go:build ignore

// What a mount costs at the least: the system call and nothing else.
//
//	floor mount SOURCE TARGET OPTIONS
//	floor umount TARGET
//	floor             nothing: the cost of a process

#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

int main(int argc, char **argv)
{
	int result = 0;

	if (argc == 5 && !strcmp(argv[1], "mount"))
		result = mount(argv[2], argv[3], "overlay", MS_NODEV | MS_NOSUID, argv[4]);
	else if (argc == 3 && !strcmp(argv[1], "umount"))
		result = umount2(argv[2], UMOUNT_NOFOLLOW);
	if (result)
		perror(argv[1]);
	return result != 0;
}

/* Preloaded into user-mode Linux where the processor has more register state than it knows of (Intel AMX): there the
 * outer kernel refuses its shorter buffer (PTRACE_SETREGSET, EFAULT). The rest is then filled up with what the process
 * has. Fixed in Linux 6.13. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

long ptrace(enum __ptrace_request request, ...)
{
    static long (*real)(enum __ptrace_request, pid_t, void *, void *);
    static char whole[65536] __attribute__((aligned(64)));
    static int refused; /* once it was, it always will be */
    va_list list;
    va_start(list, request);
    pid_t pid = va_arg(list, pid_t);
    void *address = va_arg(list, void *), *data = va_arg(list, void *);
    va_end(list);
    if (!real)
        real = dlsym(RTLD_NEXT, "ptrace");
    int is_state = request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE;
    if (!is_state || !refused) {
        long result = real(request, pid, address, data);
        if (result != -1 || errno != EFAULT || !is_state)
            return result;
        refused = 1;
    }
    struct iovec *part = data, all = {whole, sizeof whole};
    if (real(PTRACE_GETREGSET, pid, address, &all) == -1 || all.iov_len < part->iov_len)
        return -1;
    memcpy(whole, part->iov_base, part->iov_len);
    return real(PTRACE_SETREGSET, pid, address, &all);
}

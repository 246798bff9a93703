/**
 * Page faults, which decide what a MiB costs.
 *
 * Node allocates 64 KiB for each read. When V8 has freed many of them, and they are the last of the heap
 * of `malloc`, glibc returns them to the kernel, and the next reads fault them in again, page by page.
 * Where something else is last, glibc keeps them. So two processes of one program differ by up to 1.8
 * times, by chance.
 */

/** The environment of a process whose `malloc` keeps what was freed. */
export const keepsFreedMemory = { MALLOC_TRIM_THRESHOLD_: String(128 * 2 ** 20) }

/** Page faults of this process since it began, except those that read a file. */
export function pageFaults(): number {
  return process.resourceUsage().minorPageFault
}

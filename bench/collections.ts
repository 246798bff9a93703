/** Full collections by V8 since the process began. A server that shows them observes them from its start. */

import { PerformanceObserver, constants } from 'node:perf_hooks'

let seen = 0
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { detail } = entry as unknown as { readonly detail?: { readonly kind?: number } }
    if (detail?.kind === constants.NODE_PERFORMANCE_GC_MAJOR) seen++
  }
}).observe({ entryTypes: ['gc'] })

export function markCompacts(): number {
  return seen
}

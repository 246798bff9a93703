/** Finds typos: one letter too many, too few or wrong, or two letters swapped. */

/** The known name that is one edit away, ignoring case, if there is one. */
export function nearest(name: string, names: Iterable<string>): string | undefined {
  const written = name.toLowerCase()
  for (const other of names) {
    if (other !== name && isOneEdit(written, other.toLowerCase())) return other
  }
  return undefined
}

function isOneEdit(a: string, b: string): boolean {
  let start = 0
  while (start < a.length && a[start] === b[start]) start++
  const [restA, restB] = [a.slice(start), b.slice(start)]
  if (restA === restB) return true
  const [firstA = '', secondA = ''] = restA
  const [firstB = '', secondB = ''] = restB
  const isSwapped = firstA === secondB && secondA === firstB && secondA !== ''
  return (
    restA.slice(1) === restB ||
    restB.slice(1) === restA ||
    restA.slice(1) === restB.slice(1) ||
    (isSwapped && restA.slice(2) === restB.slice(2))
  )
}

/** The promises of an engine, each with its check. */

import { letters } from './letters.ts'
import { outages } from './outages.ts'
import { subjects } from './subjects.ts'
import { tables } from './tables.ts'
import type { Check } from './trial.ts'

/** All promises. */
export const promises: ReadonlyMap<string, Check> = new Map(
  [subjects, tables, letters, outages].flatMap((checks) => Object.entries(checks)),
)

/** A middleware given by name: a module, resolved from the application's directory. */

import { createRequire } from 'node:module'
import { isAbsolute, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { CioError, describe } from './errors.ts'
import type { Middleware } from './middleware.ts'

/**
 * Imports a middleware whose module's default export is it, or a factory of it.
 *
 * What `defineMiddleware` made, or takes two parameters, is a middleware; any other function is a
 * factory, and is called without options. The application's directory is the working directory.
 *
 * @throws `ERR_CIO_LOAD`: no such module, or its default export is neither
 */
export async function load(name: string): Promise<Middleware<never>> {
  const exported = await importDefault(name)
  if (typeof exported === 'function') {
    const middleware: unknown = isMiddleware(exported) ? exported : exported()
    if (typeof middleware === 'function') return middleware as Middleware<never>
  }
  throw new CioError(
    'ERR_CIO_LOAD',
    `the default export of module \`${name}\` is ${describe(exported)}; it must be a middleware or a factory of one`,
  )
}

function isMiddleware(exported: Function): exported is Middleware<never> {
  return exported.length >= 2 || Object.hasOwn(exported, 'hints')
}

async function importDefault(name: string): Promise<unknown> {
  try {
    const module = (await import(locate(name))) as { default?: unknown }
    const exported = module.default
    // CommonJS that was transpiled from ESM has its default one level down.
    const nested = (exported as { default?: unknown } | undefined)?.default
    return typeof nested === 'function' ? nested : exported
  } catch (cause) {
    throw new CioError(
      'ERR_CIO_LOAD',
      `middleware \`${name}\` could not be loaded from ${process.cwd()}: ${(cause as Error).message}`,
      { cause },
    )
  }
}

function locate(name: string): string {
  const here = process.cwd()
  if (name.startsWith('file:')) return name
  if (name.startsWith('.') || isAbsolute(name)) return pathToFileURL(resolve(here, name)).href
  try {
    return pathToFileURL(createRequire(join(here, 'package.json')).resolve(name)).href
  } catch (error) {
    // It has exports for `import` alone, which only `import` itself finds.
    if ((error as NodeJS.ErrnoException).code === 'ERR_PACKAGE_PATH_NOT_EXPORTED') return name
    throw error
  }
}

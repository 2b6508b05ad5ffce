"""Health checks: is it safe to switch something on again?"""

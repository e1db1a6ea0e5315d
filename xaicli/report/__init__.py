"""Figures and pages for people who look rather than read."""
